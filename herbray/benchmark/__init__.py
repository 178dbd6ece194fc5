"""Benchmarks against named peers, listed in `registry`. Nothing is imported here, so measured processes stay small."""
