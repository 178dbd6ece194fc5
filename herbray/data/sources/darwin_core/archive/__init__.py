"""What an archive holds and declares: its files, its kind, its tables, their dialects and records."""
