"""What a job prints: log lines and progress, without secrets."""
