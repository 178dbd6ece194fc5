"""Duplicates: sheets of one gathering, one image of several specimens, and images that are nearly the same."""
