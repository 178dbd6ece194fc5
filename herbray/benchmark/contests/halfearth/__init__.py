"""The whole study at the counts of Herbarium 2021 Half-Earth: each stage in its own process, measured."""
