"""Benchmarks against named peers; `registry` lists them. Nothing is imported here: a measured process stays small."""
