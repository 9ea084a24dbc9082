"""Detectors of conversational events: pure functions from curves and waveforms to events, the same for every source."""
