"""What a job prints: log lines, progress, and addresses without passwords."""
