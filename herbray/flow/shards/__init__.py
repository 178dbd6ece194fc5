"""Shards: building them from a catalogue, and reading what a folder of them says."""
