"""The ingest benchmark: from large sheets to small JPEGs."""
