"""Drawing a synthetic sheet: strokes, organs, plants, and the accessories of a herbarium."""
