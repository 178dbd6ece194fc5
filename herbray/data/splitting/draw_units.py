"""A catalogue's columns as integer codes, and the units (gatherings) among which splits draw at random."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from herbray.data.draws import draw_numbers
from herbray.data.labels import read_labels

Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class CodedRows:
    """The catalogue's columns as integer codes, rows sorted by id; -1 where a value is unknown."""

    ids: list[str]
    label: Ints  # name at the rank on which encoders are trained
    species: Ints  # of (genus, species), because epithets repeat between genera; -1 if either is unknown
    species_names: list[str]
    institution: Ints
    institutions: list[str]
    gathering: Ints
    gatherings: list[str]

    @staticmethod
    def from_catalogue(table: pa.Table, rank: str) -> "CodedRows":
        """Encode the rows of a catalogue, which must be sorted by id; `rank` is that of the labels."""
        label, _ = _encode(read_labels(table, rank))
        genus, genera = _encode(table["genus"])
        name, names = _encode(table["species"])
        known = (genus >= 0) & (name >= 0)
        pairs, codes = np.unique(genus[known] * len(names) + name[known], return_inverse=True)
        species = np.full(len(genus), -1)
        species[known] = codes
        labels = [f"{genera[pair // len(names)]}\0{names[pair % len(names)]}" for pair in pairs.tolist()]
        institution, institutions = _encode(table["institution"])
        gathering, gatherings = _encode(table["gathering"])
        ids = table["specimen_id"].to_pylist()
        return CodedRows(ids, label, species, labels, institution, institutions, gathering, gatherings)


@dataclass(frozen=True)
class DrawUnits:
    """The units of a random draw among some rows: gatherings, or single specimens if the gathering is unknown."""

    member: Ints  # each row's unit
    leader: Ints  # each unit's first row
    sizes: Ints  # number of rows of each unit
    shuffle: npt.NDArray[np.uint64]  # random number of each unit

    @staticmethod
    def from_rows(rows: CodedRows, pool: Ints, seed: int, purpose: str) -> "DrawUnits":
        """Find the units of the rows in `pool`; draws with the same seed and different `purpose` are independent."""
        code = np.where(rows.gathering[pool] >= 0, rows.gathering[pool], len(rows.gatherings) + pool)
        _, first, member, sizes = np.unique(code, return_index=True, return_inverse=True, return_counts=True)
        leader = pool[first]
        gathered = rows.gathering[leader] >= 0
        names = (rows.gatherings[code] for code in rows.gathering[leader[gathered]].tolist())
        alone = (rows.ids[row] for row in leader[~gathered].tolist())
        shuffle = np.empty(len(leader), np.uint64)
        shuffle[gathered] = draw_numbers(seed, f"{purpose} gathering", names)
        shuffle[~gathered] = draw_numbers(seed, f"{purpose} specimen", alone)
        return DrawUnits(member, leader, sizes, shuffle)

    def choose_share(self, share: float, stratum: Ints) -> Mask:
        """Choose units with `share` of the rows of each stratum, rounded: a unit is chosen if its middle row is."""
        order = np.lexsort((self.shuffle, stratum))
        total = np.bincount(stratum, self.sizes)
        reached = np.cumsum(self.sizes[order]) - self.sizes[order] / 2
        reached -= (np.cumsum(total) - total)[stratum[order]]
        chosen = np.empty(len(order), np.bool_)
        chosen[order] = reached < share * total[stratum[order]]
        return chosen


def _encode(column: pa.ChunkedArray) -> tuple[Ints, list[str]]:
    coded = column.combine_chunks().dictionary_encode()
    return pc.fill_null(coded.indices, -1).to_numpy(zero_copy_only=False).astype(np.int64), coded.dictionary.to_pylist()
