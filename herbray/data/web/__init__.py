"""Images on the web: asking for them with courtesy and care, and the store of those that came. No Ray."""
