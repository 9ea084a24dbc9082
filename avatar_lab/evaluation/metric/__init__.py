"""Metrics as pure functions of arrays, spans and event times; each returns a number or says why there is none."""
