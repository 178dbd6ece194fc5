"""Embedding: shards and an encoder in, vectors out."""
