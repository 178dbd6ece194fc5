"""Running, judging and printing benchmarks. Nothing is imported here, so measured processes stay small."""
