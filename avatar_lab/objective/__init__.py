"""Training objectives: callables (network, batch, rng) -> Losses. Pure torch, no loop, no optimiser."""
