"""The tables of docs/how-to/cluster.md: `jobs/plan.yaml` on 1, 4 and 16 nodes.

    .venv/bin/python docs/generator/plan_table.py

Replaces what stands between the two comments `plan` and `end of plan` on that page.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from herbray import config
from herbray.sizing.job import make_plan
from herbray.sizing.specification import Plan
from herbray.sizing.table import markdown, notes

ROOT: Final = Path(__file__).resolve().parents[2]
PAGE: Final = ROOT / "docs" / "how-to" / "cluster.md"
NODES: Final = (1, 4, 16)
BEGIN: Final = "<!-- plan: made by docs/generator/plan_table.py -->\n"
END: Final = "<!-- end of plan -->\n"


def parts() -> Iterator[str]:
    """A table for each number of nodes, and the rates of the last."""
    for nodes in NODES:
        spec = config.load(Plan, ROOT / "jobs" / "plan.yaml", ["rates=[]", f"cluster.nodes={nodes}"])
        done = make_plan(spec)
        yield f"**{nodes} GPU{'s' * (nodes > 1)}**: {done}."
        yield markdown(done.demands)
    yield "\n".join(f"- {line}" for line in notes(done.demands, done.rates))


def renew(page: str, text: str) -> str:
    """The page with another text between the two comments.

    Raises:
        ValueError: a comment is missing.
    """
    if BEGIN not in page or END not in page:
        raise ValueError(f"{PAGE}: the comments {BEGIN.strip()} and {END.strip()} must stand there")
    before, _, rest = page.partition(BEGIN)
    return f"{before}{BEGIN}\n{text}\n\n{END}{rest.partition(END)[2]}"


def main() -> None:
    """Renew the page; with `--check`, only compare."""
    page = PAGE.read_text(encoding="utf-8")
    renewed = renew(page, "\n\n".join(parts()))
    if "--check" in sys.argv:
        sys.exit(0 if renewed == page else f"{PAGE} is out of date: run docs/generator/plan_table.py")
    PAGE.write_text(renewed, encoding="utf-8")


if __name__ == "__main__":
    main()
