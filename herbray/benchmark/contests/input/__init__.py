"""Input: from shards to batches in the trainer."""
