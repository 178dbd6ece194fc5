"""The reference of the command line: every command with its arguments and options, from the application itself."""

from collections.abc import Iterator
from typing import Any

import settings_pages
import typer
from click import Command

from herbray import cli


def page() -> str:
    """The page as Markdown."""
    group = typer.main.get_command(cli.app)
    parts = ["# Commands", group.help or ""]
    for name, command in group.commands.items():
        parts += [f"## `herbray {name}`", command.help or "", f"```sh\n{_usage(name, command)}\n```", *_table(command)]
        if name in cli.VERBS:
            page = settings_pages.ALIASES.get(name, name)
            parts.append(f"[Settings of `herbray {name}`]({page}.md)")
    return "\n\n".join(parts) + "\n"


def _usage(name: str, command: Command) -> str:
    return " ".join(["herbray", name, *(f"[{_name(parameter)}]" for parameter in command.params)])


def _table(command: Command) -> Iterator[str]:
    rows = [(_name(p).replace("|", "\\|"), (p.help or "").replace("|", "\\|")) for p in command.params]
    if rows:
        yield "\n".join(["| argument | meaning |", "|---|---|", *(f"| `{name}` | {words} |" for name, words in rows)])


def _name(parameter: Any) -> str:  # noqa: ANN401  (click's)
    if parameter.param_type_name == "option":
        return ", ".join(parameter.opts)
    return parameter.metavar or parameter.name.upper()
