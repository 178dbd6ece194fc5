"""YAML of a configuration → dicts, lists and scalars; whatever the text holds, the answer is a tree or one clear line.

PyYAML scans and composes. Three things are stricter than its `safe_load`, so that nothing is taken for what it is not:

* Refused are a key that is given twice, a tag, a text that expands to more than `MAX_VALUES` values or nests deeper
  than `MAX_DEPTH`. Aliases and merge keys (`<<`) are expanded into copies: an override of one place changes no other.
* A plain scalar is null, `true` or `false`, a decimal number, or text. `NO`, `on`, `2021-06-01`, `12:30` and `007` are
  text; a setting that is a number or a truth value takes them as such all the same.
* A key is always text.
"""

import codecs
import re
from typing import Any, Final, NoReturn

import yaml

MAX_BYTES: Final = 64 * 1024
"""Of one text: twenty times the longest configuration that ships, and parsed within seconds."""

MAX_VALUES: Final = 10_000
"""Mappings, lists and scalars of one text, aliases expanded."""

MAX_DEPTH: Final = 50
"""Mappings and lists inside one another, aliases expanded; far below Python's own limit."""

_TAG: Final = "tag:yaml.org,2002:"
_MERGE: Final = _TAG + "merge"
_LONGEST_NUMBER: Final = 40  # digits: 128 bits; Python would refuse to convert 4,301

_PLAIN_SCALARS: Final = (  # each a part of what YAML 1.1 resolves alike: text that PyYAML dumps unquoted is read as text
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?(?:0|[1-9][0-9_]*)", list("-+0123456789")),
    (
        "float",
        r"[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+][0-9]+)?|\.[0-9][0-9_]*(?:[eE][-+][0-9]+)?"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        list("-+0123456789."),
    ),
    ("merge", r"<<", ["<"]),
)

_ADVICE: Final = (  # part of PyYAML's sentence → what to do
    (r"character '\t'", "indent with spaces, not with tabs"),
    ("cannot start any token", "put text that begins with a special sign into quotes"),
    (
        "mapping values are not allowed",
        "indent nested keys below their parent; put text that holds ': ' into quotes",
    ),
    ("could not find expected ':'", "write each key as `key: value`"),
    ("undefined alias", "put &NAME before the value that *NAME stands for, above its first use"),
    ("duplicate anchor", "give each & a name of its own"),
    ("found another document", "keep one document a file: remove the line ---"),
    ("unexpected end of stream", "close the quote"),
    ("unknown escape character", "use single quotes, in which a backslash is only a backslash"),
    ("expected ','", "close the bracket, or put a comma between its values"),
    ("expected the node content", "close the bracket, or write the value that is missing"),
    ("special characters are not allowed", "remove the control character"),
    ("expected <block end>", "indent all keys of a mapping, and all dashes of a list, alike"),
)


class YamlRefused(ValueError):
    """A text that is no configuration; the message is one line: where, what, what to do."""


def decode(data: bytes) -> str:
    """The text of a file: UTF-8 with or without a byte order mark, or UTF-16 with one.

    Raises:
        NotAccepted: it is neither, or longer than `MAX_BYTES`.
    """
    if len(data) > MAX_BYTES:
        raise YamlRefused(f"longer than {MAX_BYTES // 1024} KiB; is this a configuration?")
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return data.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise YamlRefused(f"line {line}: neither UTF-8 nor UTF-16 ({error.reason}); save the file as UTF-8") from None


def read(text: str) -> Any:  # noqa: ANN401  (whatever the text says)
    """The value that a YAML text says: dicts with text as keys, lists, str, int, float, bool, None.

    Raises:
        NotAccepted: it is not YAML, or YAML that a configuration may not hold.
    """
    try:
        node = yaml.compose(text, Loader=_Composer)
        return None if node is None else _Builder().value(node, 1)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = ", ".join(part for part in (error.context, error.problem) if part)
        raise YamlRefused(_with_advice(mark.line + 1 if mark else 1, problem)) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise YamlRefused(_with_advice(line, f"{error.reason} (U+{error.character:04X})")) from None


class _Composer(yaml.SafeLoader):
    """PyYAML's composer with our plain scalars; stops before Python's stack ends, or a long text takes long."""

    yaml_implicit_resolvers = {  # noqa: RUF012  (PyYAML's own attribute)
        first: [
            (_TAG + tag, re.compile(f"(?:{pattern})\\Z")) for tag, pattern, firsts in _PLAIN_SCALARS if first in firsts
        ]
        for first in {first for _, _, firsts in _PLAIN_SCALARS for first in firsts}
    }
    depth = 0
    count = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self.depth += 1
        self.count += 1
        _check_limits(self.peek_event().start_mark, self.depth, self.count)  # type: ignore[no-untyped-call]
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


class _Builder:
    """Values of composed nodes; counts them."""

    def __init__(self) -> None:
        self.count = 0

    def value(self, node: yaml.Node, depth: int) -> Any:  # noqa: ANN401
        """What a node stands for, aliases expanded."""
        self.count += 1
        _check_limits(node.start_mark, depth, self.count)
        if isinstance(node, yaml.MappingNode) and node.tag == _TAG + "map":
            return self._mapping(node, depth)
        if isinstance(node, yaml.SequenceNode) and node.tag == _TAG + "seq":
            return [self.value(each, depth + 1) for each in node.value]
        if isinstance(node, yaml.ScalarNode):
            return _scalar(node)
        return _refuse(node.start_mark, f"tag {_tag(node)}: a configuration holds no tags; write plain YAML")

    def _mapping(self, node: yaml.MappingNode, depth: int) -> dict[str, Any]:
        """Merged keys (`<<`) first; the mapping's own win over them."""
        lines: dict[str, int] = {}
        merged: dict[str, Any] = {}
        own: dict[str, Any] = {}
        for key, held in node.value:
            name, line = _key(key), key.start_mark.line + 1
            if name in lines:
                _refuse(key.start_mark, f"key {name!r} is given twice (first in line {lines[name]}); keep one of them")
            lines[name] = line
            if key.tag == _MERGE:
                merged = self._merged(held, depth)
            else:
                own[name] = self.value(held, depth + 1)
        return merged | own

    def _merged(self, node: yaml.Node, depth: int) -> dict[str, Any]:
        """The mappings that `<<` names, the first of which wins."""
        parts = node.value if isinstance(node, yaml.SequenceNode) else [node]
        tree: dict[str, Any] = {}
        for part in reversed(parts):
            if not isinstance(part, yaml.MappingNode):
                _refuse(part.start_mark, "`<<` takes a mapping or a list of mappings; write `<<: *NAME` of one")
            tree |= self.value(part, depth + 1)
        return tree


def _key(node: yaml.Node) -> str:
    if not isinstance(node, yaml.ScalarNode):
        return _refuse(node.start_mark, "a list or mapping as a key; write each key as plain text")
    _scalar(node)  # refuses tags
    return str(node.value)


def _scalar(node: yaml.ScalarNode) -> str | int | float | bool | None:
    text = str(node.value)
    match node.tag.removeprefix(_TAG):
        case "str" | "merge":
            return text
        case "null" if text in ("", "~") or text.lower() == "null":
            return None
        case "bool" if text.lower() in ("true", "false"):
            return text.lower() == "true"
        case "int" | "float" as kind:
            return _number(node, kind)
    return _refuse(node.start_mark, f"tag {_tag(node)}: a configuration holds no tags; write plain YAML")


def _number(node: yaml.ScalarNode, kind: str) -> int | float:
    text = str(node.value)
    if len(text) > _LONGEST_NUMBER and kind == "int":
        _refuse(node.start_mark, f"a number of {len(text)} digits; put it into quotes if it is text")
    bare = re.sub(r"^([-+]?)\.(inf|nan)$", r"\1\2", text.replace("_", "").lower())
    try:
        return int(bare) if kind == "int" else float(bare)
    except ValueError:  # `!!int twelve`
        return _refuse(node.start_mark, f"{text[:40]!r} is no {kind}; remove the tag, or write a number")


def _tag(node: yaml.Node) -> str:
    return str(node.tag).replace(_TAG, "!!")[:40]


def _check_limits(mark: yaml.Mark, depth: int, count: int) -> None:
    if depth > MAX_DEPTH:
        _refuse(mark, f"nested deeper than {MAX_DEPTH} levels, or an alias inside its own anchor; write it flatter")
    if count > MAX_VALUES:
        _refuse(mark, f"more than {MAX_VALUES:,} values, aliases expanded; write fewer")


def _refuse(mark: yaml.Mark, what: str) -> NoReturn:
    raise YamlRefused(f"line {mark.line + 1}: {what}")


def _with_advice(line: int, problem: str) -> str:
    """A sentence of PyYAML's with the way out."""
    advice = next((what for part, what in _ADVICE if part in problem), "put text with special signs into quotes")
    return f"line {line}: not valid YAML ({' '.join(problem.split())}); {advice}"
