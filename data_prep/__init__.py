"""From recordings of two people to shards: probe, events, encode, pictures, shard, report. See README.md."""
