"""What runs on each training worker: the loop, its steps and validation."""
