"""The source `synthetic`: a herbarium of any size that needs no download and records the true names."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal

import pyarrow as pa
from pydantic import Field, model_validator

from herbray import storage
from herbray.data.sources.base import Account, Refuse, SourceSpec
from herbray.data.sources.synthetic import layouts
from herbray.data.sources.synthetic.drawing.sheet import DRAWING_VERSION, Subject
from herbray.data.sources.synthetic.flora import FloraSizes
from herbray.data.sources.synthetic.institutions import make_herbarium
from herbray.data.sources.synthetic.parallel_drawing import DrawJob, draw_all
from herbray.data.sources.synthetic.specimens import Collection, Specimens, collect_specimens, collector_and_date
from herbray.schema import MASKED_CATALOGUE

CITATION: Final = "Synthetic herbarium drawn by herbray; no plant in it exists. CC0 1.0."

_BATCH_ROWS: Final = 8192
_LOCALITIES: Final = (
    "stony slope above the river",
    "wet meadow",
    "open oak wood",
    "roadside",
    "cliff by the sea",
    "fen",
)


class Synthetic(SourceSpec):
    """A synthetic herbarium: invented flora, several institutions, duplicates, and a known share of wrong names.

    Leaf shape, margin, veins, arrangement, flowers and drying are inherited down order → family → genus → species, with
    variation at each rank and from plant to plant. A misidentified sheet shows its true species and has the wrong name
    in `order` … `species`; `true_species` has the true name. Sheet i depends only on the settings and i, so a larger
    herbarium begins with the sheets of a smaller one; existing files are not drawn again.

    Attributes:
        path: folder of the sheets, created if missing; every machine that reads images must be able to read it.
        sheets: number of sheets.
        seed: seed of flora, collection and drawing.
        size: width of a sheet in pixels, its short side; the height is 1.4 to 1.53 times the width, by institution.
        orders: number of orders; `orders` ≤ `families` ≤ `genera` ≤ `species`.
        families: number of families.
        genera: number of genera.
        species: number of species.
        institutions: number of herbaria, each with its own paper, ruler, label, light and flora; the first is the home
            herbarium.
        home: share of gatherings whose first sheet goes to the home herbarium.
        duplicates: expected share of sheets that are a second or third sheet of a gathering, in another herbarium.
        errors: expected share of sheets with a wrong name, mostly from another genus of the same family.
        layout: `folder` (images/ and labels.csv) or `half_earth` (also train/metadata.json).
        holder: what `half_earth` calls the herbaria: institution, as in 2021, or region, as in earlier challenges.
        workers: number of processes that draw; None for all cores.
    """

    name: Literal["synthetic"] = "synthetic"
    citation: str = CITATION
    path: Path
    sheets: int = Field(3600, ge=1)
    seed: int = Field(89, ge=0)
    size: int = Field(256, ge=32, le=4096)
    orders: int = Field(5, ge=1)
    families: int = Field(8, ge=1)
    genera: int = Field(24, ge=1, le=5_000)
    species: int = Field(96, ge=1, le=20_000)
    institutions: int = Field(4, ge=1, le=100)
    home: float = Field(0.6, gt=0, lt=1)
    duplicates: float = Field(0.15, ge=0, le=0.5)
    errors: float = Field(0.05, ge=0, le=1)
    layout: layouts.Layout = "folder"
    holder: layouts.Holder = "institution"
    workers: int | None = Field(None, ge=1)

    @model_validator(mode="after")
    def _ranks_nest(self) -> "Synthetic":
        ranks = ("orders", "families", "genera", "species")
        for wide, narrow in itertools.pairwise(ranks):
            above, below = getattr(self, wide), getattr(self, narrow)
            if above > below:
                raise ValueError(f"{below} {narrow} are too few for {above} {wide}: each needs at least one")
        return self

    @property
    def root(self) -> Path:
        """The folder of the sheets."""
        return self.path if storage.is_remote(self.path) else self.path.resolve()

    def read(self, refuse: Refuse, account: Account | None = None) -> Iterator[pa.RecordBatch]:
        """Draw missing sheets, write the layout's tables, then stream the catalogue.

        Raises:
            ValueError: `path` contains sheets with other settings, or other files.
        """
        folder = self.root
        collection = self.collection
        layouts.claim_folder(folder, self._drawn_with())
        self._draw_missing(folder)
        layouts.write_labels(folder, collection, self.size, self.layout)
        if self.layout == "half_earth":
            layouts.write_metadata(folder, collection, self.size, self.holder)
        for start in range(0, self.sheets, _BATCH_ROWS):
            stop = min(start + _BATCH_ROWS, self.sheets)
            table = layouts.make_columns(collection, self.size, self.layout, start, stop)
            table["image"] = [f"{storage.show(folder)}/{image}" for image in table["image"]]
            yield pa.RecordBatch.from_pydict(table, schema=MASKED_CATALOGUE)

    @property
    def collection(self) -> Collection:
        """The settings that determine the table of specimens."""
        return Collection(
            flora=FloraSizes(self.orders, self.families, self.genera, self.species),
            sheets=self.sheets,
            institutions=self.institutions,
            home=self.home,
            duplicates=self.duplicates,
            errors=self.errors,
            seed=self.seed,
        )

    def _drawn_with(self) -> dict[str, object]:
        """Return all settings that change a sheet or its path."""
        settings = self.model_dump(mode="json", exclude={"name", "citation", "path", "sheets", "holder", "workers"})
        return {**settings, "drawing": DRAWING_VERSION}

    def _draw_missing(self, folder: Path) -> None:
        specimens = collect_specimens(self.collection)
        places = [folder / layouts.image_path(self.layout, specimens, number) for number in range(self.sheets)]
        there = storage.file_sizes(folder) if storage.is_remote(folder) else None
        drawn = [place.is_file() if there is None else place in there for place in places]
        missing = [number for number, found in enumerate(drawn) if not found]
        jobs: Iterator[DrawJob] = ((make_subject(specimens, number, self.seed), places[number]) for number in missing)
        draw_all(jobs, len(missing), self.size, self.seed, self.workers)


def make_subject(specimens: Specimens, number: int, seed: int) -> Subject:
    """What is drawn on the sheet of one specimen."""
    owner = make_herbarium(int(specimens.institution[number]), seed)
    who, when = collector_and_date(specimens, number)
    place = _LOCALITIES[int(specimens.gathering[number] * 7919 % len(_LOCALITIES))]
    return Subject(
        number=number,
        gathering=int(specimens.gathering[number]),
        taxon=specimens.taxa[specimens.truth[number]],
        herbarium=owner,
        year=when.year,
        notes=(place, f"{20 + int(specimens.gathering[number]) * 131 % 1900} m", f"leg. {who}", f"{when:%d %B %Y}"),
    )
