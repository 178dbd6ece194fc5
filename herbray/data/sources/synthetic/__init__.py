"""The synthetic herbarium, the default source: names, traits and flora; specimens; drawing; layouts on disk."""

from herbray.data.sources.synthetic.source import Synthetic

__all__ = ["Synthetic"]
