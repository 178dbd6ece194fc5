"""A batch: what machines and reviewers say about the names of sheets, and what every export needs to know of it."""

import uuid
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Sheet = Mapping[str, str | None]
"""The columns of `schema.SPECIMEN`, and `image`."""

Key = Literal["catalog_number", "specimen_id"]
"""The column by which a collection system knows a sheet."""

_NAMESPACE: Final = uuid.UUID("6c2b1f0e-8d0c-5a4e-9f39-2b7c7f1f4d11")  # of herbray's exports; drawn once


@dataclass(frozen=True)
class Opinion:
    """What a machine or a reviewer says about the name of a sheet.

    Attributes:
        id: UUID; the same opinion always has the same one.
        sheet: the sheet, as it is in the collection now.
        rank: of the names.
        given: the name that the sheet is filed under.
        verdict: "suggested" (by a machine), "wrong", "right" or "maybe".
        name: the name that the sheet should have at this rank; None if none is proposed.
        by: the machine or the reviewer; "" if unknown.
        at: when, ISO 8601 in UTC; "" if unknown.
        is_settled: no reviewer contradicts: the name may go into a collection system as a determination.
        is_last: of the settled opinions of reviewers on this name, the last.
        probability: of `name`, out of fold; only of machines.
        given_probability: of `given`; only of machines.
        alike: names of the most similar sheets, nearest first; only of machines.
        note: of the reviewer.
    """

    id: str
    sheet: Sheet
    rank: str
    given: str
    verdict: str
    name: str | None
    by: str
    at: str
    is_settled: bool = True
    is_last: bool = False
    probability: float | None = None
    given_probability: float | None = None
    alike: tuple[str, ...] = ()
    note: str | None = None

    @property
    def is_machine(self) -> bool:
        """Whether no person has looked at the sheet."""
        return self.verdict == "suggested"

    @property
    def date(self) -> str:
        """The day, "2026-03-01"; "" if unknown."""
        return self.at[:10]


@dataclass(frozen=True, eq=False)
class Collection:
    """All sheets that were embedded, for viewers.

    Attributes:
        sheets: `schema.SPECIMEN`, `split` and `image`.
        features: [n, d] embeddings in the order of the sheets; None if no chosen format needs them.
    """

    sheets: pa.Table
    features: npt.NDArray[np.float32] | None = None


@dataclass(frozen=True, eq=False)
class Batch:
    """What is exported together.

    Attributes:
        encoder: name of the encoder for people, such as "herbray-triplet v3".
        fingerprint: of the encoder.
        software: "herbray 0.1.0".
        at: when the suggestions were made, ISO 8601 in UTC.
        title: of the data set.
        opinions: machines first, by their place in the list; then reviewers.
        left_out: reason → number of suggestions and verdicts that no export contains.
        key: the column by which the collection system knows a sheet.
        current: whether names given by reviewers are marked as current. Those of machines never are.
        collection: see `Collection`.
        neighbours: number of similar sheets per sheet, for viewers.
        projection: to two dimensions, for viewers.
    """

    encoder: str
    fingerprint: str
    software: str
    at: str
    title: str
    opinions: tuple[Opinion, ...]
    left_out: Counter[str] = field(default_factory=Counter)
    key: Key = "catalog_number"
    current: bool = False
    collection: Collection | None = None
    neighbours: int = 10
    projection: Literal["pca", "umap"] = "pca"

    @property
    def id(self) -> str:
        """UUID of the batch; a batch of the same opinions has the same one."""
        return derive_id(self.fingerprint, *(each.id for each in self.opinions))

    def is_current(self, opinion: Opinion) -> bool:
        """Whether an opinion is to be the current determination."""
        return self.current and opinion.is_last


@dataclass(frozen=True)
class Written:
    """A finished export.

    Attributes:
        path: the file or folder to import.
        rows: number of determinations, annotations or sheets in it.
        what: what the rows are: "determinations", …
        left_out: reason → number of opinions or sheets that this form cannot hold.
    """

    path: Path
    rows: int
    what: str
    left_out: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        """One line."""
        reasons = "; ".join(f"{count:,} left out: {why}" for why, count in sorted(self.left_out.items()))
        return f"{self.path}: {self.rows:,} {self.what}" + (f"; {reasons}" if reasons else "")


def derive_id(*parts: str | None) -> str:
    """A UUID that depends on nothing but the parts."""
    return str(uuid.uuid5(_NAMESPACE, "\x1f".join(part or "" for part in parts)))
