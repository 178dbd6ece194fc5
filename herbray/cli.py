"""`herbray VERB config.yaml key=value …`: every job on this machine, or on the cluster that `RAY_ADDRESS` names."""

import importlib
import json
import sys
import traceback
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from herbray import __version__, config, logs
from herbray.disk import full, told
from herbray.lock import held
from herbray.logs import printable

VERBS: Final = {
    "catalogue": ("herbray.data.catalogue", "Catalogue", "build", "List which specimens a source holds."),
    "shard": ("herbray.flow.shard", "Shard", "shard", "Split a catalogue and put its images into shards."),
    "train": ("herbray.flow.train", "Train", "train", "Train an encoder and register it."),
    "register": ("herbray.flow.register", "Register", "register", "Register what a training left: RUN."),
    "tune": ("herbray.flow.tune", "Tune", "tune", "Sweep over settings: many short trainings, the best as a file."),
    "embed": ("herbray.flow.embed", "Embed", "embed", "Turn shards into embeddings with an encoder."),
    "evaluate": ("herbray.flow.evaluate", "Evaluate", "evaluate", "Compute the three applications' results."),
    "promote": ("herbray.flow.promote", "Promote", "promote", "Let a model's candidate be champion if it is better."),
    "report": ("herbray.flow.publish", "Report", "report", "Draw the results as one HTML page."),
    "suspects": ("herbray.flow.suspects", "Suspects", "suspects", "List sheets whose filed name is doubted."),
    "study": ("herbray.flow.study", "Study", "study", "Run the whole story, over objectives, start weights and seeds."),
    "demo": ("herbray.flow.study", "Study", "study", "Run the whole story on a drawn herbarium: a study of one seed."),
    "benchmark": (
        "herbray.benchmark.job",
        "Benchmark",
        "benchmark",
        "Measure herbray beside its peers: NAME key=value.",
    ),
    "doctor": ("herbray.flow.doctor", "Doctor", "doctor", "Look whether this machine and its cluster are fit."),
}
"""Verb → module, its Spec, its function, what it does. Imported when used: `--help` is quick."""

_SUBJECTS: Final = {"promote": "model", "register": "run"}
"""Setting that the first word names where it is no YAML file: `herbray promote NAME`, `herbray register RUN`."""

_LONGEST: Final = 300  # letters of an error of the store, which may quote a page of HTML

app = typer.Typer(
    help="herbray turns an archive of herbarium sheets into representations and measures what they are good for.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def run(verb: str, path: Path | None, overrides: Sequence[str]) -> int:
    """Run a verb; the exit code is 0, 1 (bad input, told in words; a fault, with its traceback) or 130 (interrupted).

    `path` may be left out, also when the first word is an override.
    """
    if verb == "benchmark":
        path, overrides = _named(path, overrides)
    if verb in _SUBJECTS and path is not None and "=" not in str(path) and path.suffix not in (".yaml", ".yml"):
        path, overrides = None, [f"{_SUBJECTS[verb]}={json.dumps(str(path))}", *overrides]
    if path is not None and "=" in str(path) and not path.exists():
        path, overrides = None, [str(path), *overrides]
    module, kind, function, _ = VERBS[verb]
    spec: config.Spec | None = None
    try:
        logs.configure()  # before a verb imports Ray or MLflow
        loaded = importlib.import_module(module)
        spec = config.load(getattr(loaded, kind), path, overrides)
        with held(spec.out, verb) if hasattr(spec, "out") else nullcontext():  # two jobs on one output would mix
            done = getattr(loaded, function)(spec)
    except (
        ValueError,
        FloatingPointError,
    ) as error:  # the second: a loss that is no number
        print(f"herbray {verb}: {printable(str(error))}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"herbray {verb}: interrupted; the same command goes on where this one stopped", file=sys.stderr)
        return 130
    except Exception as error:  # a fault of herbray or of the machine: the whole story, less what may not be shown
        words = _of_the_disk(error, spec) or _of_the_store(error)
        fault = f"herbray {verb}: {words}\n" if words else traceback.format_exc()
        print(printable(fault), file=sys.stderr, end="")
        return 1
    print(_summary(done))
    return 0


def _of_the_disk(error: Exception, spec: config.Spec | None) -> str | None:
    """What to say of a disk without room, here or on a node."""
    complaint = full(error)
    return told(complaint, getattr(spec, "out", Path())) if complaint else None


def _of_the_store(error: Exception) -> str | None:
    """What to say of an error of MLflow's, told by its name: importing MLflow takes seconds."""
    if not any(kind.__name__ == "MlflowException" for kind in type(error).__mro__):
        return None
    text = " ".join(str(error).split())[:_LONGEST]
    return f"the tracking store is away or refuses ({text}); when it is back, the same command goes on"


def _named(path: Path | None, overrides: Sequence[str]) -> tuple[Path | None, Sequence[str]]:
    """`herbray benchmark NAME key=value` is short for `run.name=NAME run.key=value`; `out` stays what it is."""
    if path is None or path.suffix or "=" in str(path):
        return path, overrides
    return None, [f"run.name={path}", *(word if word.startswith("out=") else f"run.{word}" for word in overrides)]


def _summary(done: Any) -> str:  # noqa: ANN401  (each job returns its own kind)
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


def _command(verb: str) -> None:
    @app.command(verb, help=VERBS[verb][3])
    def command(
        path: Annotated[Path | None, typer.Argument(help="YAML file of the job", metavar="[CONFIG]")] = None,
        overrides: Annotated[list[str] | None, typer.Argument(help="dotted.key=value")] = None,
    ) -> None:
        raise typer.Exit(run(verb, path, overrides or []))


for _verb in VERBS:
    if _verb != "promote":
        _command(_verb)


@app.command("promote", help=VERBS["promote"][3])
def promote(
    path: Annotated[Path | None, typer.Argument(help="registered model, or YAML file", metavar="[NAME|CONFIG]")] = None,
    overrides: Annotated[list[str] | None, typer.Argument(help="dotted.key=value")] = None,
    to: Annotated[int | None, typer.Option(help="roll back: make this version champion, without a comparison")] = None,
) -> None:
    """Short for `to=VERSION`, so that rolling back reads as what it is."""
    raise typer.Exit(run("promote", path, [*(overrides or []), *([f"to={to}"] if to is not None else [])]))


@app.command("benchmark-page", help="Write docs/benchmark.md from the records of `herbray benchmark`.")
def benchmark_page(
    records: Annotated[Path, typer.Argument(help="folder of records")] = Path("runs/benchmark"),
    page: Annotated[Path, typer.Argument(help="the page")] = Path("docs/benchmark.md"),
    remarks: Annotated[Path, typer.Argument(help="folder of NAME.md")] = Path("docs/benchmark-remarks"),
) -> None:
    """Write the page; the exit code is 1 where there is no record."""
    from herbray.benchmark.page import write_page

    try:
        print(f"{page}: {write_page(records, page, remarks)} records")
    except ValueError as error:
        print(f"herbray benchmark-page: {printable(str(error))}", file=sys.stderr)
        raise typer.Exit(1) from None


@app.command(help="Print the version.")
def version() -> None:
    """Print the version."""
    print(__version__)


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point of the console script and of `jobs/`."""
    app(args=list(argv) if argv is not None else None)


if __name__ == "__main__":
    main()
