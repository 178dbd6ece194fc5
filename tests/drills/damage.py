"""The drill of data at rest: each kind of file is flipped, cut, zeroed, removed or taken from another version.

For each harm: the command that reads the file, then the command that its message names, then the reader again. Good is
a harm that the reader names (file and way out) or that changes nothing, and after which the results are those of
undamaged files. `python tests/drills/damage.py [PART …]` prints every message; PART is a part of a file's name.
"""

import contextlib
import io
import json
import random
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
from drill import Drill, Found

SPLITS = "splits={cap: null, home: null, species: 0, random: 0.3, validation: 0.2}"
ENCODER = "encoder={arch: mobilenet_v3_small, init: random, size: 16}"
TASKS = "tasks=[{name: identify, splits: [random], ranks: [genus], folds: 2}]"
HARMS = ("flip early", "flip in the middle", "flip late", "cut", "zeroed", "absent")


@dataclass(frozen=True)
class Said:
    """What a command came to: its exit code and what it printed."""

    code: int
    text: str


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Attributes:
        file: below the folder of the whole story; the first that matches.
        reader: the command that reads it.
        maker: the command that makes it anew, which the reader's message names.
        result: what must be as without the harm at the end.
        harms: those that make sense.
    """

    file: str
    reader: str
    maker: str
    result: str
    harms: tuple[str, ...] = (*HARMS, "old version")


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    file: str
    harm: str
    said: str
    good: bool


KINDS = (
    Kind("catalogue/catalogue.parquet", "shard", "catalogue", "shards"),
    Kind("catalogue/manifest.json", "shard", "catalogue", "shards"),
    Kind("shards/split=train/part-00000.parquet", "train anew", "shard", "curve anew"),
    Kind("shards/split=random/part-00000.parquet", "embed anew", "shard", "embeddings anew"),
    Kind("shards/index.parquet", "train anew", "shard", "curve anew"),
    Kind("shards/lineage.parquet", "train anew", "shard", "curve anew"),
    Kind("shards/manifest.json", "train anew", "shard", "curve anew"),
    Kind("cache/*/split=train/part-00000.parquet.u8", "train cached", "train cached", "curve cached", HARMS),
    Kind("cache/*/split=train/part-00000.parquet.index", "train cached", "train cached", "curve cached"),
    Kind("train/checkpoints/*/*/training.pt", "train", "train", "encoder", HARMS),
    Kind("train/checkpoints/*/*/checkpoint.json", "train", "train", "encoder"),
    Kind("train/encoder/encoder.safetensors", "embed anew", "train", "embeddings anew", HARMS),
    Kind("train/encoder/encoder.json", "embed anew", "train", "embeddings anew"),
    Kind("train/run.json", "train", "train", "encoder"),
    Kind("train/tracked.json", "register", "train", "encoder"),
    Kind("train/trained.json", "report", "train", "page"),
    Kind("embeddings/*/split=random/part-00000.parquet", "evaluate", "embed", "results"),
    Kind("embeddings/*/manifest.json", "evaluate", "embed", "results"),
    Kind("results.parquet", "report", "evaluate", "results"),
    Kind("results-comparisons.parquet", "report", "evaluate", "results", ("flip in the middle", "cut", "zeroed")),
)


def commands(root: Path) -> dict[str, tuple[str, list[str]]]:
    """Verb and settings of each command of the story."""
    common = [f"shards={root / 'shards'}", f"store={root.parent}"]
    learn = [*common, ENCODER, "stream={batch: 16, window: 8}", "epochs=2", "workers=0"]
    names, ranks = "objective={name: classifier}", "objective={name: hierarchical}"
    seen = [*common, "splits=[random]", "actors=0", f"model={root / 'train' / 'encoder'}"]
    cached = f"loader={{cache: {root / 'cache'}}}"
    taxa = "orders: 2, families: 2, genera: 4, species: 8"
    source = f"source={{name: synthetic, path: {root / 'sheets'}, sheets: 160, size: 40, {taxa}}}"
    return {
        "catalogue": ("catalogue", [source, f"out={root / 'catalogue'}"]),
        "shard": ("shard", [f"catalogue={root / 'catalogue'}", f"out={root / 'shards'}", "side=24", "bag=8", SPLITS]),
        "train": ("train", [*learn, names, f"out={root / 'train'}"]),
        "train anew": ("train", [*learn, ranks, f"out={root / 'anew'}", "experiment=anew"]),
        "train cached": ("train", [*learn, names, f"out={root / 'cached'}", cached, "seed=90"]),
        "register": ("register", [f"run={root / 'train'}"]),
        "embed": ("embed", [*seen, f"out={root / 'embeddings'}"]),
        "embed anew": ("embed", [*seen, f"out={root / 'embeddings-anew'}"]),
        "evaluate": (
            "evaluate",
            [f"embeddings=[{root / 'embeddings'}]", TASKS, f"out={root / 'results.parquet'}", f"store={root.parent}"],
        ),
        "report": (
            "report",
            [
                f"results={root / 'results.parquet'}",
                f"shards={root / 'shards'}",
                f"embeddings=[{root / 'embeddings'}]",
                f"runs=[{root / 'train'}]",
                f"out={root / 'report.html'}",
                "projection=pca",
                "sheets=4",
            ],
        ),
    }


def say(root: Path, name: str) -> Said:
    """Run a command of the story in this process."""
    from herbray import cli

    verb, settings = commands(root)[name]
    with contextlib.redirect_stderr(io.StringIO()) as err, contextlib.redirect_stdout(io.StringIO()) as out:
        code = cli.run(verb, None, settings)
    return Said(code, err.getvalue() + out.getvalue())


def results(root: Path) -> Mapping[str, Callable[[], object]]:
    """What must be as without the harm, by name."""

    def curve(folder: str) -> object:
        rows = [json.loads(line) for line in (root / folder / "metrics.jsonl").read_text().splitlines()]
        return [{k: v for k, v in row.items() if k.startswith(("train_", "val_"))} for row in rows]

    def embeddings(folder: str) -> object:
        files = sorted(root.glob(f"{folder}/*/split=*/part-*"))
        return [pq.read_table(file)["embedding"].to_pylist() for file in files]

    return {
        "shards": lambda: [pq.read_table(f)["jpeg"].to_pylist() for f in sorted(root.glob("shards/split=*/part-*"))],
        "curve anew": lambda: curve("anew"),
        "curve cached": lambda: curve("cached"),
        "encoder": lambda: (root / "train" / "encoder" / "encoder.safetensors").read_bytes(),
        "embeddings anew": lambda: embeddings("embeddings-anew"),
        "results": lambda: pq.read_table(root / "results.parquet")["value"].to_pylist(),
        "page": lambda: (root / "report.html").exists(),
    }


def harmed(path: Path, harm: str, seed: int) -> None:
    """Do it."""
    data, rng = path.read_bytes(), random.Random(seed)
    if harm.startswith("flip"):
        part = {"flip early": 0.02, "flip in the middle": 0.5, "flip late": 0.97}[harm]
        place = min(len(data) - 1, int(part * len(data)) + rng.randrange(max(1, len(data) // 50)))
        path.write_bytes(data[:place] + bytes([data[place] ^ 1 << rng.randrange(8)]) + data[place + 1 :])
    elif harm == "cut":
        path.write_bytes(data[: 2 * len(data) // 3])
    elif harm == "zeroed":
        place = len(data) // 3
        path.write_bytes(data[:place] + bytes(min(512, len(data) - place)) + data[place + 512 :])
    elif harm == "absent":
        path.unlink()
    elif path.suffix == ".parquet":
        pq.write_table(pq.read_table(path).drop_columns(pq.read_schema(path).names[1:2]), path)
    else:
        path.write_bytes(data.replace(b'"sha256"', b'"sha255"'))


def story(root: Path) -> None:
    """Everything, undamaged."""
    for name in commands(root):
        if name != "register" and (said := say(root, name)).code:
            raise RuntimeError(f"{name}: {said.text}")


def cases(only: list[str]) -> Iterator[tuple[Kind, str]]:
    """Every kind of file with each of its harms."""
    for kind in KINDS:
        if not only or any(part in kind.file for part in only):
            yield from ((kind, harm) for harm in kind.harms)


def tried(root: Path, whole: Path, kind: Kind, harm: str) -> Row:
    """One harm, and what came of it; `root` holds a copy of the undamaged story at the end."""
    wanted = results(whole_in(root, whole))[kind.result]()
    for anew in ("anew", "cached", "embeddings-anew", "report.html"):
        _gone(root / anew)
    path = sorted(root.glob(kind.file))[-1]
    harmed(path, harm, len(str(path.name)) + len(harm))
    said = say(root, kind.reader)
    told = "Traceback" not in said.text and path.name in said.text
    if said.code:
        if "remove it, and run" in said.text:
            path.unlink(missing_ok=True)
        say(root, kind.maker)
        if kind.file.startswith("cache/"):  # the message says: remove the index
            sorted(root.glob("cache/*/split=train/*.index"))[0].unlink(missing_ok=True)
    again = said if not said.code else say(root, kind.reader)
    if again.code == 0 and kind.result == "results":
        say(root, "evaluate")
    same = again.code == 0 and results(root)[kind.result]() == wanted
    line = next((each for each in said.text.splitlines() if path.name in each), said.text.strip()[-300:])
    verdict = "refused" if said.code else "went on"
    return Row(kind.file, harm, f"{verdict}: {line.replace(str(root), '…')}", same and (told or said.code == 0))


def whole_in(root: Path, whole: Path) -> Path:
    """Put the undamaged story into place: addresses in it are absolute, so that it is always the same place."""
    _gone(root)
    shutil.copytree(whole, root)
    return root


def _gone(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)


def rows(work: Path, only: list[str]) -> Iterator[Row]:
    """The table."""
    from herbray.flow.cluster import connection

    root, whole = work / "story", work / "whole"
    with connection.connect():
        story(root)
        shutil.copytree(root, whole)
        for kind, harm in cases(only):
            yield tried(root, whole, kind, harm)


def damage(folder: Path) -> Found:
    """All kinds of file, all harms."""
    found = []
    for row in rows(folder, []):
        found.append(row)
        print(f"{'good' if row.good else 'BAD '} | {row.file} | {row.harm} | {row.said}", flush=True)
    bad = [f"{row.file} {row.harm}" for row in found if not row.good]
    refused = sum(row.said.startswith("refused") for row in found)
    result = f"{refused} of {len(found)} refused by name, the others change nothing; results equal after the way out"
    what = f"{len(KINDS)} kinds of file (a bit, a third, 512 bytes, the whole, another version)"
    return Found(what, "between two commands", result if not bad else f"wrong: {', '.join(bad)}", not bad)


DRILLS = {"damage": Drill(damage, 2400)}


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory(prefix="damage-", dir="/tmp") as work:
        for row in rows(Path(work), sys.argv[1:]):
            print(f"{'good' if row.good else 'BAD '} | {row.file} | {row.harm} | {row.said}", flush=True)
