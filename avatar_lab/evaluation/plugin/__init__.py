"""Metrics that need somebody else's trained weights: one file per plugin, ``table`` names them (``plugins=[...]``)."""
