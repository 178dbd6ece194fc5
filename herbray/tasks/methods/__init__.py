"""Methods shared by several tasks."""
