"""Images on the web: asking for them with courtesy and care, and the folder of those that came. No Ray."""
