"""Search: images or specimens in, the most similar sheets out."""
