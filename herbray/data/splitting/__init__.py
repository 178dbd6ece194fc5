"""Splits of a catalogue into training, validation and test specimens."""
