"""Verdicts: what reviewers decided about the names of sheets."""
