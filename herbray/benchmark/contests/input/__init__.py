"""The input benchmark: from shards to batches in the trainer."""
