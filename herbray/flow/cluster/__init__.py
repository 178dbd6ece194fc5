"""The Ray cluster: connecting to one, starting one on this machine, and fitting processes onto its nodes."""
