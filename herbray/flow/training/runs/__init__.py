"""Training runs as folders: their names, and how a run goes on."""
