"""The review job: writes the review page, and serves it if it is told to."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic import Field

from herbray import __version__, schema, storage
from herbray.config import Spec
from herbray.flow.embedding_folder import check_shards, read_embeddings, read_note
from herbray.flow.evaluation import known_names
from herbray.flow.evaluation.suspects import single_folder
from herbray.flow.review import server
from herbray.flow.review.pictures import write_pictures
from herbray.flow.review.queue import Subject, list_settled, make_items, merge_lists, read_suspects
from herbray.review.content import Item, Page
from herbray.review.page import write_page
from herbray.tasks import Embeddings
from herbray.verdicts.files import read_verdicts
from herbray.verdicts.judgements import Matched, judge, match_names


class Review(Spec):
    """The job that writes the review page. Reads embeddings, suspects and shards; writes a folder with `index.html`."""

    embeddings: Path = Field(Path("runs/embeddings"), description="embeddings folder of one encoder")
    suspects: tuple[Path, ...] = Field(
        (Path("runs/suspects"),),
        min_length=1,
        description="folders that `herbray suspects` wrote, one for each rank; the most important rank first",
    )
    shards: Path = Field(Path("runs/shards"), description="folder of the shards, for the pictures")
    verdicts: Path = Field(
        Path("runs/verdicts"), description="folder with CSV files of verdicts, or one CSV file; need not exist"
    )
    out: Path = Field(Path("runs/review"), description="folder that receives the page")
    title: str = Field("Review of doubtful names", description="heading of the page")
    most: int = Field(1000, ge=1, description="most sheets in the queue; each needs some ten pictures")
    neighbours: int = Field(4, ge=1, le=24, description="number of similar sheets of each name")
    serve: bool = Field(False, description="serve the page until Ctrl-C, and save verdicts")
    host: str = Field(
        "127.0.0.1", description="address that the server listens on; others than this machine's are open"
    )
    port: int = Field(8642, ge=0, le=65535, description="port that the server listens on; 0: any free port")


def review(spec: Review) -> str:
    """Write the page, serve it if the settings say so, and return a summary.

    Raises:
        ValueError: embeddings, suspects and shards do not belong together, or a file of verdicts cannot be read.
    """
    for name in ("out", "verdicts"):
        if storage.is_remote(getattr(spec, name)):
            raise ValueError(f"{name}: the page and its verdicts lie on a disk: give an absolute path")
    folder = single_folder(spec.embeddings)
    manifest = read_note(folder)
    check_shards(spec.shards, manifest)
    lists = read_suspects(spec.suspects, manifest)
    verdicts = read_verdicts(spec.verdicts)
    table = read_embeddings(folder)
    matched = match_names(judge(verdicts), table)
    queue = merge_lists(lists, spec.most)
    subjects = [*queue, *list_settled(matched.settled, queue)]
    specimens = _read_specimens(table, lists)
    items = make_items(subjects, Embeddings.from_table(table), specimens, spec.neighbours)
    size = write_pictures(spec.shards, _list_sheets(items), spec.out)
    shares = _describe_shares(queue, matched, specimens)
    about = _describe_queue(manifest, lists, queue)
    path = write_page(
        Page(spec.title, _store_name(spec), about, shares, items, verdicts.to_pylist()),
        spec.out,
    )
    told = f"{path}: {len(items):,} sheets to review, {size / 1e6:,.0f} MB of pictures"
    lines = [told, *known_names.describe_matched(matched, spec.verdicts)]
    if spec.serve:
        print("\n".join(lines), flush=True)
        return server.serve(spec.out, spec.verdicts, spec.host, spec.port)
    return "\n".join([*lines, f"open {path} in a browser, or add --serve to save verdicts in {spec.verdicts}"])


def _read_specimens(table: pa.Table, lists: Sequence[pa.Table]) -> dict[str, dict[str, Any]]:
    """Id → the columns of the specimen, and the path of the original image, which lists of suspects may know."""
    images = {
        row["specimen_id"]: row["image"] for each in lists for row in each.select(["specimen_id", "image"]).to_pylist()
    }
    rows = table.select(schema.SPECIMEN.names).to_pylist()
    return {row["specimen_id"]: row | {"image": images.get(row["specimen_id"])} for row in rows}


def _list_sheets(items: Sequence[Item]) -> set[str]:
    near = (sheet for item in items for similar in item.similar for sheet, _ in similar.sheets)
    return {item.sheet.specimen_id for item in items} | {sheet.specimen_id for sheet in near}


def _describe_shares(queue: Sequence[Subject], matched: Matched, specimens: Mapping[str, dict[str, Any]]) -> list[str]:
    listed = [(each.specimen_id, each.rank, each.given) for each in queue]
    known = known_names.find_known_names(listed, matched.current, specimens, use_truth=True)
    if not len(known.places):
        return [
            "How many of these names are wrong is not known: there is no verdict yet. Make the page again after some "
            "sheets have been judged."
        ]
    by_truth = len(known.places) - known.by_verdict
    sources = [f"{known.by_verdict:,} verdicts"] * bool(known.by_verdict) + [f"{by_truth:,} true names"] * bool(
        by_truth
    )
    return [
        *known_names.describe_stretches(known),
        f"Known from {' and '.join(sources)}; intervals of 95 % by gathering.",
    ]


def _describe_queue(manifest: Mapping[str, Any], lists: Sequence[pa.Table], queue: Sequence[Subject]) -> list[str]:
    ranks = ", ".join(dict.fromkeys(each["rank"][0].as_py() for each in lists if len(each)))
    made = time.strftime("%Y-%m-%d", time.gmtime())
    return [
        f"{len(queue):,} sheets, most doubtful first; names checked at rank {ranks}",
        f"Encoder {manifest.get('model') or manifest.get('name')} {manifest.get('version') or ''}".rstrip(),
        f"Made on {made} by herbray {__version__}",
    ]


def _store_name(spec: Review) -> str:
    """The page's name in the browser's storage: the same when the page is made again in the same folder."""
    return f"herbray-review-{storage.digest({'out': str(spec.out.absolute())})[:16]}"
