"""A catalogue's columns as numbers, and the units of random draws among its rows: what the splits are made from."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from herbray.data.draws import draws

Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Rows:
    """The catalogue's columns as codes, rows in the order of their ids; -1 where a value is unknown."""

    ids: list[str]
    genus: Ints
    species: Ints  # of (genus, species), so that bare epithets are told apart; -1 where either is unknown
    species_names: list[str]
    institution: Ints
    institutions: list[str]
    gathering: Ints
    gatherings: list[str]

    @staticmethod
    def of(table: pa.Table) -> "Rows":
        """The rows of a catalogue, which stand in the order of their ids."""
        genus, genera = _codes(table["genus"])
        name, names = _codes(table["species"])
        known = (genus >= 0) & (name >= 0)
        pairs, codes = np.unique(genus[known] * len(names) + name[known], return_inverse=True)
        species = np.full(len(genus), -1)
        species[known] = codes
        labels = [f"{genera[pair // len(names)]}\0{names[pair % len(names)]}" for pair in pairs.tolist()]
        institution, institutions = _codes(table["institution"])
        gathering, gatherings = _codes(table["gathering"])
        ids = table["specimen_id"].to_pylist()
        return Rows(ids, genus, species, labels, institution, institutions, gathering, gatherings)


@dataclass(frozen=True)
class Units:
    """What a random draw draws among some rows: gatherings, and single specimens where the gathering is unknown."""

    member: Ints  # each row's unit
    leader: Ints  # each unit's first row
    sizes: Ints  # rows
    shuffle: npt.NDArray[np.uint64]  # each unit's draw

    @staticmethod
    def of(rows: Rows, pool: Ints, seed: int, purpose: str) -> "Units":
        """The units of the rows in `pool`; `purpose` keeps the draws of one seed apart."""
        code = np.where(rows.gathering[pool] >= 0, rows.gathering[pool], len(rows.gatherings) + pool)
        _, first, member, sizes = np.unique(code, return_index=True, return_inverse=True, return_counts=True)
        leader = pool[first]
        gathered = rows.gathering[leader] >= 0
        names = (rows.gatherings[code] for code in rows.gathering[leader[gathered]].tolist())
        alone = (rows.ids[row] for row in leader[~gathered].tolist())
        shuffle = np.empty(len(leader), np.uint64)
        shuffle[gathered] = draws(seed, f"{purpose} gathering", names)
        shuffle[~gathered] = draws(seed, f"{purpose} specimen", alone)
        return Units(member, leader, sizes, shuffle)

    def share(self, share: float, stratum: Ints) -> Mask:
        """Units that hold `share` of the rows of each stratum, rounded: a unit is in when its middle row is."""
        order = np.lexsort((self.shuffle, stratum))
        total = np.bincount(stratum, self.sizes)
        reached = np.cumsum(self.sizes[order]) - self.sizes[order] / 2
        reached -= (np.cumsum(total) - total)[stratum[order]]
        chosen = np.empty(len(order), np.bool_)
        chosen[order] = reached < share * total[stratum[order]]
        return chosen


def _codes(column: pa.ChunkedArray) -> tuple[Ints, list[str]]:
    coded = column.combine_chunks().dictionary_encode()
    return pc.fill_null(coded.indices, -1).to_numpy(zero_copy_only=False).astype(np.int64), coded.dictionary.to_pylist()
