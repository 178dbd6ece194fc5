"""A drawn herbarium, the default source: names, traits and flora; specimens; leaf to sheet; layouts on disk."""

from herbray.data.sources.synthetic.source import Synthetic

__all__ = ["Synthetic"]
