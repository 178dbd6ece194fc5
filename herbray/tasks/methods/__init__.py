"""Methods that several tasks share."""
