"""Shards: building them from a catalogue, and reading a shards folder."""
