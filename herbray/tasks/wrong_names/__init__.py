"""How probable it is that a sheet is filed under a wrong name, and how many names of a list are wrong."""
