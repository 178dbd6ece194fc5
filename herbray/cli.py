"""`herbray VERB config.yaml key=value …`: every job on this machine, or on the cluster that `RAY_ADDRESS` names."""

import importlib
import json
import shlex
import sys
import traceback
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from herbray import __version__, config
from herbray.console import logs
from herbray.console.logs import make_printable
from herbray.disk import describe_disk_error, find_disk_error
from herbray.lock import lock_output
from herbray.settings import help_texts, job_files

VERBS: Final = {
    "catalogue": ("herbray.data.catalogue", "Catalogue", "build", "List which specimens a source holds."),
    "shard": ("herbray.flow.shards.build", "Shard", "shard", "Split a catalogue and put its images into shards."),
    "train": ("herbray.flow.training.job", "Train", "train", "Train an encoder and register it."),
    "register": (
        "herbray.flow.training.registration",
        "Register",
        "register",
        "Register a training that ended while the tracking store was away: RUN is its folder.",
    ),
    "tune": (
        "herbray.flow.sweep.job",
        "Tune",
        "tune",
        "Search settings by many short trainings; write the best to a file.",
    ),
    "embed": ("herbray.flow.embedding.job", "Embed", "embed", "Turn shards into embeddings with an encoder."),
    "evaluate": (
        "herbray.flow.evaluation.job",
        "Evaluate",
        "evaluate",
        "Score embeddings on the three jobs of curators.",
    ),
    "promote": (
        "herbray.flow.evaluation.promotion",
        "Promote",
        "promote",
        "Make a model's candidate champion, if it is better.",
    ),
    "report": ("herbray.flow.study.report_job", "Report", "report", "Draw the results as one HTML page."),
    "suspects": (
        "herbray.flow.evaluation.suspects",
        "Suspects",
        "suspects",
        "List sheets that may be filed under a wrong name.",
    ),
    "study": ("herbray.flow.study.job", "Study", "study", "Run every stage, for each objective, start and seed."),
    "demo": ("herbray.flow.study.job", "Study", "study", "Run every stage on a drawn herbarium, in minutes."),
    "benchmark": (
        "herbray.benchmark.job",
        "Benchmark",
        "benchmark",
        "Measure herbray beside other libraries.",
    ),
    "doctor": ("herbray.flow.doctor.job", "Doctor", "doctor", "Check this machine and its cluster; say what to mend."),
}
"""Verb → module, its Spec, its function, what it does. Imported when used: `--help` is quick."""

_SUBJECT_SETTINGS: Final = {"promote": "model", "register": "run"}
"""Setting that the first word names where it is no YAML file: `herbray promote NAME`, `herbray register RUN`."""

_MAX_STORE_ERROR: Final = 300  # letters of an error of the store, which may quote a page of HTML

app = typer.Typer(
    help=help_texts.PROGRAM,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def run(verb: str, path: Path | None, overrides: Sequence[str]) -> int:
    """Run a verb; the exit code is 0, 1 (bad input, told in words; a fault, with its traceback) or 130 (interrupted).

    `path` may be left out, also when the first word is an override.
    """
    if verb == "benchmark":
        path, overrides = _expand_benchmark(path, overrides)
    if verb in _SUBJECT_SETTINGS and path is not None and "=" not in str(path) and path.suffix not in (".yaml", ".yml"):
        path, overrides = None, [f"{_SUBJECT_SETTINGS[verb]}={json.dumps(str(path))}", *overrides]
    if path is not None and "=" in str(path) and not path.exists():
        path, overrides = None, [str(path), *overrides]
    module, kind, function, _ = VERBS[verb]
    spec: config.Spec | None = None
    try:
        logs.configure()  # before a verb imports Ray or MLflow
        loaded = importlib.import_module(module)
        spec = _load(verb, getattr(loaded, kind), path, overrides)
        with lock_output(spec.out, verb) if hasattr(spec, "out") else nullcontext():  # two jobs on one output would mix
            done = getattr(loaded, function)(spec)
    except (
        ValueError,
        FloatingPointError,
    ) as error:  # the second: a loss that is no number
        print(f"herbray {verb}: {make_printable(str(error))}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"herbray {verb}: interrupted; the same command goes on where this one stopped", file=sys.stderr)
        return 130
    except Exception as error:  # a fault of herbray or of the machine: the whole story, less what may not be shown
        words = _describe_disk_error(error, spec) or _describe_store_error(error)
        fault = f"herbray {verb}: {words}\n" if words else traceback.format_exc()
        print(make_printable(fault), file=sys.stderr, end="")
        return 1
    print(_summarize(done))
    return 0


def _load(verb: str, kind: type[config.Spec], path: Path | None, overrides: Sequence[str]) -> config.Spec:
    """The verb's settings; the demo has a file of its own, the others their defaults."""
    if verb == "demo" and path is None:
        path = job_files.find_folder() / "demo.yaml"
    try:
        return config.load(kind, path, overrides)
    except config.ConfigError as error:
        if path is None and config.MISSING in str(error):
            raise config.ConfigError(f"{error}\n{help_texts.suggest_command(verb)}") from None
        raise


def _describe_disk_error(error: Exception, spec: config.Spec | None) -> str | None:
    """What to say of a disk without room, here or on a node."""
    complaint = find_disk_error(error)
    return describe_disk_error(complaint, getattr(spec, "out", Path())) if complaint else None


def _describe_store_error(error: Exception) -> str | None:
    """What to say of an error of MLflow's, told by its name: importing MLflow takes seconds."""
    if not any(kind.__name__ == "MlflowException" for kind in type(error).__mro__):
        return None
    text = " ".join(str(error).split())[:_MAX_STORE_ERROR]
    return f"the tracking store is away or refuses ({text}); when it is back, the same command goes on"


def _expand_benchmark(path: Path | None, overrides: Sequence[str]) -> tuple[Path | None, Sequence[str]]:
    """`herbray benchmark NAME key=value` is short for `run.name=NAME run.key=value`; `out` stays what it is."""
    if path is None or path.suffix or "=" in str(path):
        return path, overrides
    return None, [f"run.name={path}", *(word if word.startswith("out=") else f"run.{word}" for word in overrides)]


def _summarize(done: Any) -> str:  # noqa: ANN401  (each job returns its own kind)
    """One line for what a job returned."""
    if isinstance(done, dict):
        counts = ", ".join(f"{count:,} {name}" for name, count in done["counts"].items())
        splits = ", ".join(f"{name} {rows:,}" for name, rows in done.get("splits", {}).items())
        return f"{counts} ({splits})" if splits else counts
    if hasattr(done, "num_rows"):
        return f"{done.num_rows:,} results"
    if hasattr(done, "fitted"):
        figures = ", ".join(f"{name} {value:.4g}" for name, value in sorted(done.fitted.figures.items()))
        return f"{done.uri}: {figures}"
    return str(done)


_Overrides = Annotated[
    list[str] | None, typer.Argument(help="settings by dotted name, which win over the file", metavar="KEY=VALUE")
]


def _first_argument(verb: str) -> Any:  # noqa: ANN401  (typer's)
    metavar, describe_disk_error = help_texts.first_argument(verb)
    return typer.Argument(help=describe_disk_error, metavar=metavar)


def _add_command(verb: str) -> None:
    @app.command(verb, help=help_texts.verb_help(verb, VERBS[verb][3]), rich_help_panel=help_texts.panel_of(verb))
    def command(
        path: Annotated[Path | None, _first_argument(verb)] = None,
        overrides: _Overrides = None,
    ) -> None:
        raise typer.Exit(run(verb, path, overrides or []))


_add_command("demo")


@app.command(
    help=help_texts.INIT,
    rich_help_panel="Begin here",
)
def init(
    folder: Annotated[
        Path, typer.Argument(help="receives the files, in its subfolder jobs", metavar="FOLDER")
    ] = Path(),
    force: Annotated[bool, typer.Option("--force", help="overwrite files that differ from those that ship")] = False,
) -> None:
    """Write them, and say what to do next; the exit code is 1 where that cannot be."""
    try:
        files = job_files.copy_job_files(folder, overwrite=force)
    except OSError as error:
        print(f"herbray init: {make_printable(f'{error.filename}: {error.strerror}')}", file=sys.stderr)
        raise typer.Exit(1) from None
    except ValueError as error:
        print(f"herbray init: {make_printable(str(error))}", file=sys.stderr)
        raise typer.Exit(1) from None
    print(f"{folder / 'jobs'}: " + (f"{len(files)} files written" if files else "all files are there, as they ship"))
    there = "" if folder.resolve() == Path.cwd() else f"cd {shlex.quote(str(folder))} && "
    print(f"next: {there}herbray demo jobs/demo.yaml")
    print("or copy jobs/demo.yaml to my.yaml, name your own images under catalogue.source, and: herbray study my.yaml")


for _verb in (verb for verbs in help_texts.PANELS.values() for verb in verbs):
    if _verb not in ("demo", "promote"):
        _add_command(_verb)


@app.command(
    "promote", help=help_texts.verb_help("promote", VERBS["promote"][3]), rich_help_panel=help_texts.panel_of("promote")
)
def promote(
    path: Annotated[Path | None, _first_argument("promote")] = None,
    overrides: _Overrides = None,
    to: Annotated[int | None, typer.Option(help="roll back: make this version champion, without a comparison")] = None,
) -> None:
    """Short for `to=VERSION`, so that rolling back reads as what it is."""
    raise typer.Exit(run("promote", path, [*(overrides or []), *([f"to={to}"] if to is not None else [])]))


@app.command(
    "benchmark-page",
    help="Write docs/benchmark.md from the records of `herbray benchmark`.",
    rich_help_panel="For developers",
)
def benchmark_page(
    records: Annotated[Path, typer.Argument(help="folder of records")] = Path("runs/benchmark"),
    page: Annotated[Path, typer.Argument(help="the page")] = Path("docs/benchmark.md"),
    remarks: Annotated[Path, typer.Argument(help="folder of NAME.md")] = Path("docs/benchmark-remarks"),
) -> None:
    """Write the page; the exit code is 1 where there is no record."""
    from herbray.benchmark.harness.page import write_page

    try:
        print(f"{page}: {write_page(records, page, remarks)} records")
    except ValueError as error:
        print(f"herbray benchmark-page: {make_printable(str(error))}", file=sys.stderr)
        raise typer.Exit(1) from None


@app.command(help="Print the version.", rich_help_panel="For developers")
def version() -> None:
    """Print the version."""
    print(__version__)


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point of the console script and of `jobs/`."""
    app(args=list(argv) if argv is not None else None)


if __name__ == "__main__":
    main()
