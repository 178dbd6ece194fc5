"""Runs the drills, makes their table: `python tests/drills/run.py [NAME …] [--short] [--page docs/reliability.md]`."""

import argparse
import dataclasses
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from contextlib import suppress
from pathlib import Path

import damage
import kinds
import limits
import overhead
import psutil
import studies
import tracking
import training
import verbs
from drill import Drill, Found

DRILLS: dict[str, Drill] = {
    **training.DRILLS,
    **kinds.DRILLS,
    **limits.DRILLS,
    **overhead.DRILLS,
    **tracking.DRILLS,
    **verbs.DRILLS,
    **studies.DRILLS,
    **damage.DRILLS,
}

BEGIN, END = "<!-- drills: made by `make drills` -->", "<!-- end of drills -->"
RECORDS = Path("runs/drills")


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(DRILLS)}; none: all")
    parser.add_argument("--short", action="store_true", help="only the short ones")
    parser.add_argument("--page", type=Path, help="write the table of all records into this page, between its markers")
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if unknown := set(given.names) - DRILLS.keys():
        parser.error(f"no drill is called {', '.join(sorted(unknown))}")
    names = given.names or [name for name, drill in DRILLS.items() if drill.short or not given.short]
    if given.one:
        return perform(names[0], given.one)
    RECORDS.mkdir(parents=True, exist_ok=True)
    founds = {}
    with tempfile.TemporaryDirectory(prefix="drills-", dir="/tmp") as work:  # short: sockets lie in it
        for name in names:
            found, seconds = founds[name] = bounded(name, Path(work))
            record = dataclasses.asdict(found) | {"seconds": seconds}
            (RECORDS / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n")
    if given.page:
        write(given.page)
    print("\n" + "\n".join(table({name: dataclasses.asdict(found) for name, (found, _) in founds.items()})))
    return 0 if all(found.good for found, _ in founds.values()) else 1


def perform(name: str, folder: Path) -> int:
    """In a process of its own."""
    warnings.simplefilter("ignore")
    try:
        found = DRILLS[name].run(folder)
    except Exception as error:
        traceback.print_exc()
        found = Found(name, "", f"{type(error).__name__}: {str(error).splitlines()[0][:200]}", False)
    (folder / "found.json").write_text(json.dumps(dataclasses.asdict(found)))
    return 0


def bounded(name: str, work: Path) -> tuple[Found, float]:
    """Run a drill until it ends or its bound has passed; then nothing of it is left running."""
    folder, began, bound = work / name, time.monotonic(), DRILLS[name].bound_s
    folder.mkdir()
    print(f"{name}: at most {bound:g} s", flush=True)
    process = subprocess.Popen([sys.executable, __file__, name, "--one", folder], start_new_session=True)
    try:
        process.wait(bound)
        found = Found(**json.loads((folder / "found.json").read_text()))
    except subprocess.TimeoutExpired:
        found = Found(name, "", f"hung: not over after {bound:g} s", False)
    except (OSError, ValueError) as error:
        found = Found(name, "", f"the drill itself failed: {error}", False)
    for each in descendants(process):
        with suppress(psutil.NoSuchProcess):
            each.kill()
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # what it left, though it has ended itself
    process.wait()
    seconds = time.monotonic() - began
    print(f"{name}: {'good' if found.good else 'BAD'}, {found.result} ({seconds:.0f} s)", flush=True)
    return found, seconds


def descendants(process: subprocess.Popen) -> list[psutil.Process]:
    """The process and those that it started, if it still runs."""
    try:
        return [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
    except psutil.NoSuchProcess:
        return []


def table(records: dict[str, dict]) -> list[str]:
    """Markdown."""
    head = "| drill | killed or spoiled | when | recovered in | windows redone | result | bound |"
    rows = []
    for name, found in records.items():
        recovery = "–" if found["recovery_s"] is None else f"{found['recovery_s']:.0f} s"
        redone = "–" if found["redone"] is None else str(found["redone"])
        redone += f" of at most {found['at_most']}" if found.get("at_most") is not None else ""
        verdict = found["result"] if found["good"] else f"**failed**: {found['result']}"
        cells = (name, found["killed"], found["when"], recovery, redone, verdict, f"{DRILLS[name].bound_s:g} s")
        rows.append("| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |")
    return [head, "|---|---|---|---|---|---|---|", *rows]


def write(page: Path) -> None:
    """Put the table of every record there is between the markers of a page."""
    records = {name: json.loads(path.read_text()) for name in DRILLS if (path := RECORDS / f"{name}.json").exists()}
    before, marker, rest = page.read_text().partition(BEGIN)
    _, closing, after = rest.partition(END)
    if not marker or not closing:
        raise ValueError(f"{page}: has no lines {BEGIN} and {END}")
    page.write_text(f"{before}{BEGIN}\n\n" + "\n".join(table(records)) + f"\n\n{END}{after}")


if __name__ == "__main__":
    sys.exit(main())
