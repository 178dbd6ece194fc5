"""The reference of the Python API: what `import herbray` offers, from signatures and docstrings."""

import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any, Final

import herbray
from herbray.flow.search.index import SheetIndex
from herbray.model.portable import Encoder
from herbray.tracking import pull

METHODS: Final = ("forward", "embed")
"""Methods of an encoder that people call."""

_SECTIONS: Final = ("Args", "Attributes", "Returns", "Raises")


def page() -> str:
    """The page as Markdown."""
    parts = ["# Python"]
    for name in sorted(name for name in herbray.__all__ if not name.startswith("_")):
        parts += [f"## `herbray.{name}`", *_callable(getattr(herbray, name))]
    parts += ["## `Encoder`", f"What `load_encoder` returns: `{Encoder.__module__}.Encoder`, a `torch.nn.Module`."]
    parts += list(markdown(inspect.getdoc(Encoder) or ""))
    for name in METHODS:
        parts += [f"### `Encoder.{name}`", *_callable(getattr(Encoder, name))]
    parts += ["## `SheetIndex.search`", "`load_index` returns a `SheetIndex`.", *_callable(SheetIndex.search)]
    parts += ["## `herbray.tracking.pull`", *_callable(pull)]
    return "\n\n".join(parts) + "\n"


def _callable(what: Callable[..., Any]) -> Iterator[str]:
    signature = str(inspect.signature(what)).replace("'", "").replace('"', "")
    short = re.sub(r"\b(?:[a-z_]+\.)+(?=[A-Za-z])", "", signature)  # `numpy.float32` → `float32`
    yield f"```python\n{what.__name__}{short}\n```"
    yield from markdown(inspect.getdoc(what) or "")


def markdown(docstring: str) -> Iterator[str]:
    """A docstring in Google style as paragraphs and lists of Markdown."""
    heads = "|".join(_SECTIONS)
    text, *rest = re.split(rf"^({heads}):\n", docstring, flags=re.M)
    yield text.strip()
    for head, body in zip(rest[::2], rest[1::2], strict=True):
        yield f"**{head}**"
        items = re.findall(r"^ {4}(\S.*(?:\n {8,}.+)*)", body, re.M)
        yield "\n".join(f"- {_item(head, ' '.join(item.split()))}" for item in items)
        after = re.split(r"\n(?=\S)", body, maxsplit=1)
        if len(after) > 1:
            yield after[1].strip()


def _item(head: str, text: str) -> str:
    """`name: words` with the name as code; a `Returns` section has words alone."""
    name, colon, words = text.partition(": ")
    return f"`{name}`: {words}" if colon and head != "Returns" and re.fullmatch(r"[\w.]+", name) else text
