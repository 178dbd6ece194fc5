"""How benchmarks are run, judged and told. Nothing is imported here: a measured process stays small."""
