"""`herbray VERB config.yaml key=value …`: runs a job on this machine, or on the cluster named by `RAY_ADDRESS`."""

import importlib
import json
import shlex
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from herbray import __version__, config, interruption, storage
from herbray.console import logs
from herbray.console.logs import make_printable
from herbray.exit_codes import ExitCode, code_of, describe_failure
from herbray.lock import lock_output
from herbray.settings import help_texts, job_files
from herbray.settings.root import list_paths
from herbray.verbs import VERBS

_SUBJECT_SETTINGS: Final = {"promote": "model", "register": "run", "search": "images"}
"""Verb → setting for a first argument that is no YAML file: `herbray promote NAME`, `herbray search IMAGE`."""

_UsageError: Final[Any] = typer.BadParameter.__mro__[1]  # typer does not export it, and may bring its own click
_INTERRUPTED_IN_TYPER: Final = 130

app = typer.Typer(
    help=help_texts.PROGRAM,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def run(verb: str, path: Path | None, overrides: Sequence[str]) -> int:
    """Run a verb.

    Args:
        verb: a key of `VERBS`.
        path: the YAML file; None for defaults. May also be the first override, or what `_SUBJECT_SETTINGS` names.
        overrides: `key=value` strings.

    Returns:
        The exit code, see `ExitCode`. The last line on stderr is the cause of a failure; a traceback of an unexpected
        error stands before it.
    """
    path, overrides = _read_first_argument(verb, path, overrides)
    module, kind, function, _ = VERBS[verb]
    spec: config.Spec | None = None
    try:
        with interruption.handle_signals():
            logs.configure()  # before a verb imports Ray or MLflow
            loaded = importlib.import_module(module)
            spec = _load(verb, getattr(loaded, kind), path, overrides)
            out = None if getattr(spec, "look", False) else getattr(spec, "out", None)
            storage.check_buckets(list_paths(spec))
            with lock_output(out, verb) if out is not None else nullcontext():  # one job per output
                done = getattr(loaded, function)(spec)
    except (Exception, KeyboardInterrupt, SystemExit) as error:
        print(
            f"herbray {verb}: {make_printable(describe_failure(error, getattr(spec, 'out', Path())))}", file=sys.stderr
        )
        return code_of(error)
    if used := storage.describe_usage():
        print(used, file=sys.stderr)
    print(make_printable(_summarize(done)))
    return ExitCode.DONE


def _read_first_argument(verb: str, path: Path | None, overrides: Sequence[str]) -> tuple[Path | None, Sequence[str]]:
    """Turn a first argument that is no file into overrides."""
    if verb == "benchmark":
        path, overrides = _expand_benchmark(path, overrides)
    if path is None:
        return path, overrides
    if "=" in str(path):
        return (path, overrides) if path.exists() else (None, [str(path), *overrides])
    if verb in _SUBJECT_SETTINGS and path.suffix not in (".yaml", ".yml"):
        return None, [f"{_SUBJECT_SETTINGS[verb]}={json.dumps(str(path))}", *overrides]
    return path, overrides


def _load(verb: str, kind: type[config.Spec], path: Path | None, overrides: Sequence[str]) -> config.Spec:
    """The verb's settings. Without a file, the demo uses its shipped file, and other verbs use their defaults."""
    if verb == "demo" and path is None:
        path = job_files.find_folder() / "demo.yaml"
    try:
        return config.load(kind, path, overrides)
    except config.ConfigError as error:
        if path is None and config.MISSING in str(error):
            raise config.ConfigError(f"{error}\n{help_texts.suggest_command(verb)}") from None
        raise


def _expand_benchmark(path: Path | None, overrides: Sequence[str]) -> tuple[Path | None, Sequence[str]]:
    """`herbray benchmark NAME key=value` is short for `run.name=NAME run.key=value`; `out` and `root` stay."""
    if path is None or path.suffix or "=" in str(path):
        return path, overrides
    return None, [
        f"run.name={path}",
        *(word if word.startswith(("out=", "root=")) else f"run.{word}" for word in overrides),
    ]


def _summarize(done: Any) -> str:  # noqa: ANN401  (each job returns its own kind)
    """The result of a job in one line, after notes on its data."""
    if isinstance(done, dict):
        counts = ", ".join(f"{count:,} {name}" for name, count in done["counts"].items())
        splits = ", ".join(f"{name} {rows:,}" for name, rows in done.get("splits", {}).items())
        notes = "".join(f"note: {note}\n" for note in done.get("notes", ()))
        return notes + (f"{counts} ({splits})" if splits else counts)
    if hasattr(done, "num_rows"):
        return f"{done.num_rows:,} results"
    if hasattr(done, "fitted"):
        figures = ", ".join(f"{name} {value:.4g}" for name, value in sorted(done.fitted.figures.items()))
        return f"{done.uri}: {figures}"
    return str(done)


_Overrides = Annotated[
    list[str] | None,
    typer.Argument(help="settings by dotted name; they take precedence over the file", metavar="KEY=VALUE"),
]


def _first_argument(verb: str) -> Any:  # noqa: ANN401  (typer's)
    metavar, text = help_texts.first_argument(verb)
    return typer.Argument(help=text, metavar=metavar)


def _add_command(verb: str) -> None:
    @app.command(verb, help=help_texts.verb_help(verb, VERBS[verb][3]), rich_help_panel=help_texts.panel_of(verb))
    def command(
        path: Annotated[Path | None, _first_argument(verb)] = None,
        overrides: _Overrides = None,
    ) -> None:
        raise typer.Exit(run(verb, path, overrides or []))


def _add_command_with_flag(verb: str) -> None:
    """`--FLAG` is short for the setting `FLAG=true`."""
    flag, text = help_texts.FLAGS[verb]

    @app.command(verb, help=help_texts.verb_help(verb, VERBS[verb][3]), rich_help_panel=help_texts.panel_of(verb))
    def command(
        path: Annotated[Path | None, _first_argument(verb)] = None,
        overrides: _Overrides = None,
        is_set: Annotated[bool, typer.Option(f"--{flag}", help=text)] = False,
    ) -> None:
        raise typer.Exit(run(verb, path, [*(overrides or []), *([f"{flag}=true"] if is_set else [])]))


_add_command("demo")


@app.command(
    help=help_texts.INIT,
    rich_help_panel="Start here",
)
def init(
    folder: Annotated[Path, typer.Argument(help="the files go into its subfolder jobs", metavar="FOLDER")] = Path(),
    force: Annotated[bool, typer.Option("--force", help="overwrite files that differ from the shipped ones")] = False,
) -> None:
    """Write the job files and print the next command; the exit code is 1 if a file cannot be written."""
    try:
        files = job_files.copy_job_files(folder, overwrite=force)
    except OSError as error:
        print(f"herbray init: {make_printable(f'{error.filename}: {error.strerror}')}", file=sys.stderr)
        raise typer.Exit(ExitCode.BAD_INPUT) from None
    except ValueError as error:
        print(f"herbray init: {make_printable(str(error))}", file=sys.stderr)
        raise typer.Exit(ExitCode.BAD_INPUT) from None
    print(f"{folder / 'jobs'}: " + (f"{len(files)} files written" if files else "all files exist already, unchanged"))
    change_folder = "" if folder.resolve() == Path.cwd() else f"cd {shlex.quote(str(folder))} && "
    print(f"next: {change_folder}herbray demo jobs/demo.yaml")
    print("or copy jobs/demo.yaml to my.yaml, set catalogue.source to your own images, and run: herbray study my.yaml")


for _verb in (verb for verbs in help_texts.PANELS.values() for verb in verbs):
    if _verb in help_texts.FLAGS:
        _add_command_with_flag(_verb)
    elif _verb not in ("demo", "promote"):
        _add_command(_verb)


@app.command(
    "promote", help=help_texts.verb_help("promote", VERBS["promote"][3]), rich_help_panel=help_texts.panel_of("promote")
)
def promote(
    path: Annotated[Path | None, _first_argument("promote")] = None,
    overrides: _Overrides = None,
    to: Annotated[
        int | None, typer.Option(help="roll back: make this version the champion, without a comparison")
    ] = None,
) -> None:
    """Promote or roll back a model; `--to VERSION` is short for `to=VERSION`."""
    raise typer.Exit(run("promote", path, [*(overrides or []), *([f"to={to}"] if to is not None else [])]))


@app.command(
    "benchmark-page",
    help="Write docs/benchmark.md from the records of `herbray benchmark`.",
    rich_help_panel="For developers",
)
def benchmark_page(
    records: Annotated[Path, typer.Argument(help="folder of records")] = Path("runs/benchmark"),
    page: Annotated[Path, typer.Argument(help="the page to write")] = Path("docs/benchmark.md"),
    remarks: Annotated[Path, typer.Argument(help="folder of remarks, as NAME.md")] = Path("docs/benchmark-remarks"),
) -> None:
    """Write the page; the exit code is 1 if there are no records."""
    from herbray.benchmark.harness.page import write_page

    try:
        print(f"{page}: {write_page(records, page, remarks)} records")
    except ValueError as error:
        print(f"herbray benchmark-page: {make_printable(str(error))}", file=sys.stderr)
        raise typer.Exit(ExitCode.BAD_INPUT) from None


@app.command(help="Print the version.", rich_help_panel="For developers")
def version() -> None:
    """Print the version."""
    print(__version__)


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point of the console script and of `jobs/`; exits with an `ExitCode`."""
    try:
        code = app(args=list(argv) if argv is not None else None, standalone_mode=False)
    except _UsageError as error:
        if message := error.format_message():  # empty for a command without arguments: typer has printed the help
            print(f"{error.ctx.get_usage()}\nherbray: {make_printable(message)}", file=sys.stderr)
        code = ExitCode.USAGE
    except (KeyboardInterrupt, typer.Abort):
        code = ExitCode.INTERRUPTED
    sys.exit(ExitCode.INTERRUPTED if code == _INTERRUPTED_IN_TYPER else code or ExitCode.DONE)


if __name__ == "__main__":
    main()
