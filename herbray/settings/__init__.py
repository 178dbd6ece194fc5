"""Settings of jobs: the YAML reader, the shipped job files, help texts, and marks on settings."""
