"""A world of two procedural people with a known causal graph, rendered to real mp4 and wav files."""
