"""Shards of encoded two-person conversations, and batches cut from them by a counter."""
