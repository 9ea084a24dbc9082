"""Generation: one causal loop over blocks, offline sampling for the bidirectional teacher, and live sessions."""
