"""Images: reading untrusted files, reducing them, decoding squares of shards."""
