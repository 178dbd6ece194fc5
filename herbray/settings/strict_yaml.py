"""Reads the YAML of a configuration into dicts, lists and scalars; any other text gives a one-line error.

PyYAML scans and composes. Three rules are stricter than its `safe_load`, so that no value is misread:

* These are refused: a duplicate key, a tag, a text that expands to more than `MAX_VALUES` values or nests deeper than
  `MAX_DEPTH`. Aliases and merge keys (`<<`) are expanded into copies, so that an override changes one place only.
* A plain scalar is null, `true` or `false`, a decimal number, or text. `NO`, `on`, `2021-06-01`, `12:30` and `007` are
  text; a numeric or boolean setting still converts such text.
* A key is always text.
"""

import codecs
import re
from typing import Any, Final, NoReturn

import yaml

MAX_BYTES: Final = 64 * 1024
"""Limit for one text: twenty times the longest shipped configuration, and parsed within seconds."""

MAX_VALUES: Final = 10_000
"""Limit for the mappings, lists and scalars of one text, with aliases expanded."""

MAX_DEPTH: Final = 50
"""Limit for the nesting of mappings and lists, with aliases expanded; far below Python's recursion limit."""

_TAG: Final = "tag:yaml.org,2002:"
_MERGE: Final = _TAG + "merge"
_LONGEST_NUMBER: Final = 40  # digits: 128 bits; Python would refuse to convert 4,301

_PLAIN_SCALARS: Final = (  # subsets of YAML 1.1, so that text that PyYAML dumps unquoted is read as text
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
    ("cannot start any token", "put text that begins with a special character into quotes"),
    (
        "mapping values are not allowed",
        "indent nested keys below their parent; put text that holds ': ' into quotes",
    ),
    ("could not find expected ':'", "write each key as `key: value`"),
    ("undefined alias", "put &NAME before the value that *NAME stands for, above its first use"),
    ("duplicate anchor", "give each & a different name"),
    ("found another document", "keep one document per file: remove the line ---"),
    ("unexpected end of stream", "close the quote"),
    ("unknown escape character", "use single quotes, in which a backslash is only a backslash"),
    ("expected ','", "close the bracket, or put a comma between its values"),
    ("expected the node content", "close the bracket, or write the value that is missing"),
    ("special characters are not allowed", "remove the control character"),
    ("expected <block end>", "indent all keys of a mapping, and all dashes of a list, equally"),
)


class YamlRefused(ValueError):
    """A text that is not a valid configuration; the message is one line: where, what, what to do."""


def decode(data: bytes) -> str:
    """The text of a file: UTF-8 with or without a byte order mark, or UTF-16 with one.

    Raises:
        YamlRefused: the data is neither, or longer than `MAX_BYTES`.
    """
    if len(data) > MAX_BYTES:
        raise YamlRefused(f"longer than {MAX_BYTES // 1024} KiB; check that it is a configuration")
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return data.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise YamlRefused(f"line {line}: neither UTF-8 nor UTF-16 ({error.reason}); save the file as UTF-8") from None


def read(text: str) -> Any:  # noqa: ANN401  (any value of YAML)
    """The value of a YAML text: dicts with text as keys, lists, str, int, float, bool, None.

    Raises:
        YamlRefused: the text is not YAML, or YAML that a configuration must not contain.
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
    """PyYAML's composer with our plain scalars; stops at the limits above."""

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
    """Builds the values of composed nodes, and counts them."""

    def __init__(self) -> None:
        self.count = 0

    def value(self, node: yaml.Node, depth: int) -> Any:  # noqa: ANN401
        """The value of a node, with aliases expanded."""
        self.count += 1
        _check_limits(node.start_mark, depth, self.count)
        if isinstance(node, yaml.MappingNode) and node.tag == _TAG + "map":
            return self._mapping(node, depth)
        if isinstance(node, yaml.SequenceNode) and node.tag == _TAG + "seq":
            return [self.value(each, depth + 1) for each in node.value]
        if isinstance(node, yaml.ScalarNode):
            return _scalar(node)
        return _refuse(node.start_mark, f"tag {_tag(node)}: a configuration must not contain tags; write plain YAML")

    def _mapping(self, node: yaml.MappingNode, depth: int) -> dict[str, Any]:
        """The values of a mapping. Its own keys take precedence over merged ones (`<<`)."""
        lines: dict[str, int] = {}
        merged: dict[str, Any] = {}
        own: dict[str, Any] = {}
        for key, value in node.value:
            name, line = _key(key), key.start_mark.line + 1
            if name in lines:
                _refuse(key.start_mark, f"key {name!r} is given twice (first in line {lines[name]}); keep one of them")
            lines[name] = line
            if key.tag == _MERGE:
                merged = self._merge(value, depth)
            else:
                own[name] = self.value(value, depth + 1)
        return merged | own

    def _merge(self, node: yaml.Node, depth: int) -> dict[str, Any]:
        """The mappings that `<<` names, merged; the first takes precedence."""
        parts = node.value if isinstance(node, yaml.SequenceNode) else [node]
        tree: dict[str, Any] = {}
        for part in reversed(parts):
            if not isinstance(part, yaml.MappingNode):
                _refuse(part.start_mark, "`<<` takes a mapping or a list of mappings; write `<<: *NAME` of a mapping")
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
    return _refuse(node.start_mark, f"tag {_tag(node)}: a configuration must not contain tags; write plain YAML")


def _number(node: yaml.ScalarNode, kind: str) -> int | float:
    text = str(node.value)
    if len(text) > _LONGEST_NUMBER and kind == "int":
        _refuse(node.start_mark, f"a number of {len(text)} digits; put it into quotes if it is text")
    bare = re.sub(r"^([-+]?)\.(inf|nan)$", r"\1\2", text.replace("_", "").lower())
    try:
        return int(bare) if kind == "int" else float(bare)
    except ValueError:  # `!!int twelve`
        return _refuse(node.start_mark, f"{text[:40]!r} is not of type {kind}; remove the tag, or write a number")


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
    """PyYAML's error message with advice."""
    advice = next((what for part, what in _ADVICE if part in problem), "put text with special characters into quotes")
    return f"line {line}: not valid YAML ({' '.join(problem.split())}); {advice}"
