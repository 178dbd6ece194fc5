"""Catalogues, splits, images and shard plans: pure functions on tables, without Ray and without torch."""
