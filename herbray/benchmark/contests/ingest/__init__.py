"""Ingest: from large sheets to small JPEGs."""
