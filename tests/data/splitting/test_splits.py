from collections import Counter, defaultdict
from hashlib import sha256

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from herbray.data.sources.base import make_batch
from herbray.data.splitting.empty_splits import explain_empty_splits
from herbray.data.splitting.splits import EmptySplit, Splits, split
from herbray.schema import SPLITS, TEST_SPLITS

COLUMNS = ("specimen_id", "genus", "species", "institution", "gathering")


def table(rows):
    columns = dict(zip(COLUMNS, zip(*rows, strict=True), strict=True)) if rows else {name: [] for name in COLUMNS}
    return pa.Table.from_batches(
        [make_batch({**{k: list(v) for k, v in columns.items()}, "image": [f"{r[0]}.jpg" for r in rows]})]
    )


def sides(rows, seed=89, **chosen):
    """Each specimen's split by its id."""
    return dict(zip((row[0] for row in rows), split(table(rows), Splits(**chosen), seed).to_pylist(), strict=True))


def herbarium(genera=12, species=5, sheets=20, away=0.3, seed=0):
    """A flora large enough that no split is empty; some gatherings have sheets in several herbaria, some names lack."""
    random = np.random.default_rng(seed)
    rows = []
    for g in range(genera):
        for s in range(species):
            for _ in range(int(random.integers(2, sheets))):
                number = len(rows)
                institution = random.choice(["NY", "K", "AK"], p=[1 - away, away / 2, away / 2])
                gathering = f"Spruce {number // 2}" if random.random() < 0.5 else None
                name = f"Genus{g} species{s}" if random.random() < 0.95 else None
                rows.append((f"S{number:05d}", f"Genus{g}", name, str(institution), gathering))
    return rows


def code(prefix, most):
    return st.integers(0, most).map(lambda number: f"{prefix}{number}" if number else None)


# small and ill-behaved: unknown values, conflicting names in one gathering, few of everything
herbaria = st.lists(
    st.tuples(code("G", 3), code("s", 5), code("I", 2), st.none() | code("c", 25)), min_size=20, max_size=60
).map(lambda rows: [(f"S{number:03d}", *row) for number, row in enumerate(rows)])

options = st.fixed_dictionaries(
    {
        "cap": st.none() | st.integers(1, 6),
        "home": st.sampled_from([None, "auto"]),
        "species": st.sampled_from([0, 0.2, 0.5]),
        "random": st.sampled_from([0, 0.2, 0.5]),
        "validation": st.sampled_from([0, 0.2, 0.5, 0.9]),
        "stratify": st.booleans(),
        "min_train": st.integers(1, 3),
    }
)


@pytest.mark.slow
@given(herbaria, options, st.integers(0, 3))
def test_what_holds_of_every_split(rows, chosen, seed):
    try:
        side = sides(rows, seed, **chosen)
    except ValueError:
        assume(False)
    assert set(side.values()) <= set(SPLITS)
    used = [row for row in rows if side[row[0]] != "unused"]
    trained = Counter(row[1] for row in rows if side[row[0]] == "train")
    gatherings, species = defaultdict(set), defaultdict(Counter)
    for identity, genus, name, institution, gathering in used:
        assert genus is not None
        assert trained[genus] >= chosen["min_train"]
        if gathering:
            gatherings[gathering].add(side[identity])
        species[genus, name][side[identity]] += 1
        if chosen["home"]:
            assert institution is not None
    assert all(len(found) == 1 for found in gatherings.values())
    for (_, name), found in species.items():
        assert chosen["cap"] is None or found.total() <= chosen["cap"]
        assert not found["species"] or (name is not None and not found.keys() & {"train", "validation", "random"})
    homes = {row[3] for row in used if side[row[0]] not in ("herbarium", "unused")}
    aways = {row[3] for row in used if side[row[0]] == "herbarium"}
    assert not homes & aways
    assert not aways or len(homes) == 1


@pytest.mark.slow
@given(herbaria, options, st.randoms())
@settings(max_examples=50)
def test_the_order_of_the_rows_does_not_matter(rows, chosen, random):
    def told(rows):
        try:
            return sides(rows, **chosen)
        except ValueError as error:
            return str(error)

    assert told(rows) == told(random.sample(rows, len(rows)))


def test_the_same_seed_gives_the_same_splits_for_ever():
    rows = [(f"S{i}", f"G{i % 5}", f"s{i % 35}", "ABA"[i % 3], f"c{i // 2}" if i % 11 else None) for i in range(1500)]
    side = sides(rows)
    assert side != sides(rows, seed=90)
    assert Counter(side.values()) == {
        "train": 363,
        "validation": 89,
        "herbarium": 164,
        "species": 63,
        "random": 50,
        "unused": 771,
    }
    assert sha256("".join(side.values()).encode()).hexdigest()[:16] == "601a838e4f458a4b"


def test_chunks_of_the_table_do_not_matter():
    whole = table(herbarium())
    pieces = pa.concat_tables([whole.slice(0, 100), whole.slice(100, 0), whole.slice(100)])
    assert split(pieces, Splits(), 1).equals(split(whole, Splits(), 1))


@pytest.mark.slow
def test_the_studys_steps_give_the_studys_shares():
    rows = [
        (f"S{i}", f"G{i % 50}", f"G{i % 50} s{i % 400}", "NY" if i % 7 else "K", None) for i in range(14_000)
    ]  # 35 sheets a species, of which 25 are kept
    side = sides(rows)
    counts = Counter(side.values())
    home = sum(counts[name] for name in ("train", "validation", "species", "random"))
    assert home + counts["herbarium"] == 400 * 25
    assert abs(counts["herbarium"] - 10_000 / 7) < 150
    held_out = {row[2] for row in rows if side[row[0]] == "species"}
    assert len(held_out) == 40
    left = home - counts["species"]
    assert counts["random"] == pytest.approx(left / 10, abs=1)
    assert counts["validation"] == pytest.approx((left - counts["random"]) / 5, rel=0.02)
    for genus in {row[1] for row in rows}:
        own = Counter(side[row[0]] for row in rows if row[1] == genus)
        assert own["validation"] == pytest.approx(0.2 * (own["train"] + own["validation"]), abs=0.5001)


def test_validation_can_be_drawn_from_all_classes():
    rows = herbarium()
    assert sides(rows, stratify=False) != sides(rows)
    counts = Counter(sides(rows, stratify=False).values())
    assert counts["validation"] == pytest.approx(0.2 * (counts["train"] + counts["validation"]), abs=3)


def test_a_named_home_institution_and_none():
    rows = herbarium()
    side = sides(rows, home="K")
    assert {row[3] for row in rows if side[row[0]] == "train"} == {"K"}
    side = sides(rows, home=["K", "AK"])
    assert {row[3] for row in rows if side[row[0]] in ("train", "random", "validation")} == {"K", "AK"}
    assert {row[3] for row in rows if side[row[0]] == "herbarium"} == {"NY"}
    side = sides(rows, home=None)
    assert "herbarium" not in side.values()
    assert {row[3] for row in rows if side[row[0]] == "train"} == {"NY", "K", "AK"}
    with pytest.raises(
        ValueError, match=r"splits\.home=KEW: no such institution in the catalogue; choose from AK, K, NY"
    ):
        sides(rows, home=["K", "KEW"])


def test_the_home_institution_of_equals_is_the_first_in_the_alphabet():
    rows = [(f"S{i}", f"G{i % 4 // 2}", "s", "ZB"[i % 2], None) for i in range(40)]
    side = sides(rows, species=0, random=0, cap=None)
    assert {row[3] for row in rows if side[row[0]] == "train"} == {"B"}


def conflict(first, second, **chosen):
    """The sides of two sheets of one gathering among a plain flora of institution NY."""
    rows = [(f"P{i}", f"G{i % 3}", f"G{i % 3} s{i % 12}", "NY", None) for i in range(240)]
    rows += [("A", *first, "Spruce 1"), ("B", *second, "Spruce 1"), ("C", "G1", "G1 s1", "K", None)]
    side = sides(rows, cap=None, **chosen)
    held_out = {row[2] for row in rows if side[row[0]] == "species"}
    return side["A"], side["B"], held_out


def test_duplicates_in_two_herbaria_stay_at_home():
    home, away, _ = conflict(("G0", "G0 s0", "NY"), ("G0", "G0 s0", "K"), species=0)
    assert home in {"train", "validation", "random"}
    assert away == "unused"


def test_a_gathering_with_a_held_out_species_is_a_species_test():
    _, _, held_out = conflict(("G0", "G0 s0", "NY"), ("G0", "G0 s0", "NY"))
    name = min(held_out)
    other = next(f"G0 s{i}" for i in (0, 3, 6, 9) if f"G0 s{i}" not in held_out)
    first, second, _ = conflict((name.split()[0], name, "NY"), ("G0", other, "NY"))
    assert (first, second) == ("species", "unused")


def test_a_sheet_above_the_cap_does_not_speak_for_its_gathering():
    rows = [(f"P{i}", f"G{i % 2}", f"G{i % 2} s{i}", "NY", None) for i in range(40)]
    rows += [("H", "G0", "G0 s", "NY", "Spruce 1"), ("A", "G0", "G0 s", "K", "Spruce 1")]
    rows += [("K0", "G0", "G0 k", "K", None)]
    seen = set()
    for seed in range(20):
        side = sides(rows, seed, cap=1, species=0, random=0, validation=0)
        seen.add((side["H"], side["A"]))
    assert seen == {("train", "unused"), ("unused", "herbarium")}


def test_unnamed_species_share_one_cap_in_their_genus_and_are_never_held_out():
    rows = herbarium() + [(f"U{i}", "Genus0", None, "NY", None) for i in range(100)]
    side = sides(rows, species=0.5)
    unnamed = [side[row[0]] for row in rows if row[1] == "Genus0" and row[2] is None]
    assert sum(name != "unused" for name in unnamed) == 25
    assert "species" not in unnamed


def test_epithets_alone_are_distinguished_by_their_genus():
    rows = [(f"S{i}", f"G{i % 2}", "alba", "NY", None) for i in range(40)]
    side = sides(rows, home=None, species=0, random=0, cap=10)
    assert Counter(row[1] for row in rows if side[row[0]] != "unused") == {"G0": 10, "G1": 10}


def test_a_genus_that_training_lacks_leaves_the_tests():
    rows = herbarium()
    rows += [(f"X{i}", "Rara", "Rara una", "K", None) for i in range(9)]
    rows += [("Y0", "Sola", "Sola una", "NY", None), *[(f"Z{i}", "Sola", "Sola una", "K", None) for i in range(5)]]
    side = sides(rows)
    assert {side[row[0]] for row in rows if row[1] in ("Rara", "Sola")} == {"unused"}
    alone = sides(rows, min_train=1, species=0, random=0)
    assert {alone[f"Z{i}"] for i in range(5)} == {"herbarium"}


@pytest.mark.parametrize(
    ("name", "way_out", "rows", "chosen"),
    [
        ("herbarium", "splits.home=null", herbarium(away=0), {"home": "auto"}),
        ("herbarium", "splits.home=null", [(*row[:3], None, row[4]) for row in herbarium()], {"home": "auto"}),
        ("species", "splits.species=0", [(*row[:2], None, *row[3:]) for row in herbarium()], {"species": 0.1}),
        ("species", "splits.species=0", [(*row[:2], row[1], *row[3:]) for row in herbarium()], {"species": 0.1}),
        ("random", "splits.random=0", herbarium(genera=2, species=2, sheets=4), {"home": None, "random": 0.01}),
        ("validation", "splits.validation=0", herbarium(), {"cap": 3, "validation": 0.001}),
        ("train", "splits.min_train", herbarium(), {"min_train": 10_000}),
        ("train", "genus", [(row[0], None, *row[2:]) for row in herbarium()], {"home": None}),
    ],
)
def test_a_split_that_comes_out_empty_is_an_error_with_the_way_out(name, way_out, rows, chosen):
    with pytest.raises(EmptySplit) as told:
        sides(rows, **chosen)
    assert name in str(told.value)
    assert way_out in str(told.value)


@pytest.mark.parametrize(
    ("missing", "rows", "chosen"),
    [
        ({"herbarium": "all sheets are of one institution, NY"}, herbarium(away=0), {}),
        ({"herbarium": "no sheet has an institution"}, [(*r[:3], None, r[4]) for r in herbarium()], {}),
        (
            {"herbarium": "no institution has enough training sheets of genera that other institutions also have"},
            [*herbarium(away=0), ("X", "Rara", "Rara una", "K", None)],
            {},
        ),
        ({"species": "no sheet is identified to species"}, [(*r[:2], None, *r[3:]) for r in herbarium()], {}),
        (
            {"species": "without any one species, too few sheets of its genus are left to train on"},
            [(*r[:2], r[1], *r[3:]) for r in herbarium()],
            {},
        ),
        ({"herbarium": "all sheets are of one institution, NY"}, herbarium(away=0), {"species": 0}),
        ({}, herbarium(), {}),
        ({}, herbarium(), {"home": None, "species": 0, "random": 0, "validation": 0}),
    ],
)
def test_a_default_split_that_comes_out_empty_is_left_out_with_the_reason(missing, rows, chosen):
    """Before: EmptySplit, "split 'herbarium' is empty; set splits.home to another institution, …"."""
    whole, settings = table(rows), Splits(**chosen)
    found = split(whole, settings, 89)
    assert explain_empty_splits(whole, found, settings) == missing
    counts = Counter(found.to_pylist())
    assert counts["train"] > 0
    assert not any(counts[name] for name in missing)


def test_a_share_that_holds_out_nothing_is_reported():
    rows = [(f"S{i}", f"G{i % 2}", f"G{i % 2} s", None, None) for i in range(4)]
    whole, settings = table(rows), Splits()
    assert explain_empty_splits(whole, split(whole, settings, 89), settings) == {
        "validation": "a share of 0.2 selects no sheet, or leaves too few to train on",
        "herbarium": "no sheet has an institution",
        "species": "without any one species, too few sheets of its genus are left to train on",
        "random": "a share of 0.1 selects no sheet, or leaves too few to train on",
    }


def test_a_default_test_that_would_leave_one_genus_to_train_is_given_up():
    """Two genera of one species each: holding out one species would leave one genus to train on."""
    rows = [(f"S{i}", f"G{i % 2}", f"G{i % 2} s", "NK"[i // 2 % 2], None) for i in range(40)]
    counts = Counter(sides(rows).values())
    assert set(counts) == {"train", "validation", "herbarium", "random"}
    with pytest.raises(EmptySplit, match="split 'species' is empty"):
        sides(rows, species=0.1)
    few = [(f"S{i}", f"G{i % 3}", f"G{i % 3} s", f"I{i}", None) for i in range(30)]  # each institution has one sheet
    assert "herbarium" not in sides(few).values()
    assert set(sides(few).values()) >= {"train", "random"}


def test_sheets_without_an_institution_train_where_one_institution_is_known():
    rows = [(*row[:3], "NY" if number % 3 else None, row[4]) for number, row in enumerate(herbarium())]
    default, alone = Counter(sides(rows).values()), Counter(sides(rows, home=None).values())
    assert default == alone


def test_what_was_not_asked_for_may_be_empty():
    side = sides(herbarium(), home=None, species=0, random=0, validation=0, cap=None)
    assert set(side.values()) == {"train"}
    assert not set(side.values()) & set(TEST_SPLITS)


def test_one_genus_cannot_train():
    with pytest.raises(ValueError, match=r"are of one genus, Genus0, .*labels\.rank=species") as told:
        sides(herbarium(genera=1), home=None)
    assert "\n" not in str(told.value)
    rows = [*herbarium(genera=1), ("X", "Rara", "Rara una", "NY", None)]
    with pytest.raises(
        ValueError, match=r"only one genus would be left to train on.*splits\.home=null.*\n  .*specimens"
    ):
        sides(rows, home=None)


def test_an_empty_catalogue_and_repeated_ids_are_refused():
    with pytest.raises(ValueError, match="no row"):
        sides([])
    with pytest.raises(ValueError, match=r"must be unique: 'S00003' is not"):
        sides([*herbarium(), herbarium()[3]])


@pytest.mark.parametrize("wrong", [{"cap": 0}, {"species": 1}, {"random": -0.1}, {"validation": 1}, {"min_train": 0}])
def test_senseless_settings_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Splits(**wrong)
