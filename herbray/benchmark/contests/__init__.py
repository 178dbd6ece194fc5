"""The benchmarks. Nothing is imported here: a measured process stays small."""
