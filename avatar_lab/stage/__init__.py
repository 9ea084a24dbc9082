"""Training stages: which roles there are, how they start, and whose turn it is at each step."""
