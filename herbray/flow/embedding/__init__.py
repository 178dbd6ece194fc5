"""Embedding: shards and an encoder in, one vector per specimen out."""
