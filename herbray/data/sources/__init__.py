"""Where catalogues come from: one module a source."""
