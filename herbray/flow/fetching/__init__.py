"""Fetching the images of a catalogue from the web into a folder."""
