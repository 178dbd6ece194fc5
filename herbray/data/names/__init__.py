"""Scientific names as people write them: read into ranks, tidied in tables, looked up in the user's own tables."""
