"""Training: its specification, the loop of one worker, what it logs, and the registered model."""
