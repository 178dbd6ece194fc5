"""Job files and the marks on their settings."""
