"""Checkpoints: the folder that holds them, and the workers that write one together."""
