"""Training workers on Ray Train: starting them, their failures, and what they report."""
