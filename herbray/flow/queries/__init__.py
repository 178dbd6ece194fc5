"""Images that are not in the shards, prepared and embedded exactly as the sheets of an embeddings folder were."""
