"""Exports: opinions on the names of sheets, in the forms that collection systems and viewers load."""
