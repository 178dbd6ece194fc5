import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from herbray.data.planning.validation import arrange_batches, draw_sample, has_pairs, number_gatherings, plan_validation

SCHEMA = pa.schema([(name, pa.string()) for name in ("specimen_id", "label", "gathering")])


def table(rows):
    names = [f"S{number}" for number in range(len(rows))]
    return pa.Table.from_arrays(
        [pa.array(values, pa.string()) for values in (names, *zip(*rows, strict=True))] if rows else [[]] * 3,
        schema=SCHEMA,
    )


genera = st.sampled_from([f"G{number}" for number in range(8)])
specimens = st.lists(
    st.tuples(genera, st.none() | st.sampled_from([f"C{number}" for number in range(12)])), min_size=1, max_size=60
)
sizes = st.integers(1, 70)


def ids(chosen):
    return chosen["specimen_id"].to_pylist()


def many(genera, each, step=1):
    """A herbarium of `genera` genera of `each` specimens; `step` specimens in a row are of one gathering."""
    return table([(f"G{g:04d}", f"{g}/{n // step}") for g in range(genera) for n in range(each)])


def genera_with_two_gatherings(chosen):
    """Of whose specimens the k-NN accuracy counts."""
    pairs = set(zip(chosen["label"].to_pylist(), number_gatherings(chosen["gathering"]).tolist(), strict=True))
    genera = [genus for genus, _ in pairs]
    return {genus for genus in genera if genera.count(genus) > 1}


def counted(chosen):
    comparable = genera_with_two_gatherings(chosen)
    return sum(genus in comparable for genus in chosen["label"].to_pylist())


@pytest.mark.slow
@settings(deadline=None)
@given(specimens, sizes)
def test_a_sample_is_a_part_of_the_split_of_the_size_asked_for(rows, most):
    whole = table(rows)
    chosen = ids(draw_sample(whole, most))
    assert len(chosen) == len(set(chosen)) == min(most, len(rows))
    assert set(chosen) <= set(ids(whole))


@settings(deadline=None)
@given(specimens, sizes, st.randoms(use_true_random=False))
def test_the_order_of_the_specimens_changes_nothing(rows, most, random):
    whole = table(rows)
    places = [*range(len(rows))]
    random.shuffle(places)
    assert draw_sample(whole.take(places), most).equals(draw_sample(whole, most))


@settings(deadline=None)
@given(specimens, sizes)
def test_a_smaller_sample_is_the_beginning_of_a_larger_one(rows, most):
    whole = table(rows)
    assert ids(draw_sample(whole, most)) == ids(draw_sample(whole, most + 7))[:most]


@settings(deadline=None)
@given(specimens, sizes, st.tuples(genera, st.none() | st.just("C0")))
def test_a_specimen_more_changes_few_others(rows, most, added):
    before, after = set(ids(draw_sample(table(rows), most))), set(ids(draw_sample(table([*rows, added]), most)))
    assert len(before - after) <= 2
    assert len(after - before) <= 2


@settings(deadline=None)
@given(specimens, sizes)
def test_each_sampled_specimen_has_a_partner_if_one_exists(rows, most):
    whole = table(rows)
    chosen = draw_sample(whole, most)
    comparable, compared = genera_with_two_gatherings(whole), genera_with_two_gatherings(chosen)
    lonely = [genus for genus in chosen["label"].to_pylist() if genus in comparable - compared]
    assert lonely in ([], [chosen["label"][-1].as_py()])  # the last one may be cut off from its partner


def test_of_few_specimens_from_many_genera_nearly_all_are_counted():
    """A plain draw of 400 from 12,000 of 3,000 genera has 46 with a partner."""
    whole = many(3000, 4)
    chosen = draw_sample(whole, 400)
    assert counted(chosen) >= 399
    assert len(set(chosen["label"].to_pylist())) > 190


def test_large_genera_have_more_rows_as_in_the_split():
    sizes = np.array([2] * 300 + [30] * 50)
    whole = table([(f"G{genus:03d}", f"{genus}/{n}") for genus, size in enumerate(sizes) for n in range(size)])
    drawn = draw_sample(whole, 1000)["label"].to_pylist()
    counts = np.array([drawn.count(f"G{genus:03d}") for genus in range(350)])
    assert np.isin(counts[:300], [0, 2]).sum() >= 299
    small, large = counts[:300].mean() / 2, counts[300:].mean() / 30  # share of their specimens
    assert large < small < 2 * large  # what partners add


@pytest.mark.slow
@settings(deadline=None)
@given(st.lists(st.text(min_size=1, max_size=5), min_size=1, max_size=20, unique=True))
def test_all_genera_can_be_reached(names):
    """Whatever a genus is called, a specimen of it is drawn first under some id."""
    for genus in names:
        rows = [{"specimen_id": f"S{n}", "label": g, "gathering": None} for n, g in enumerate(names)]
        found = (
            draw_sample(
                pa.Table.from_pylist([row | {"specimen_id": f"{row['specimen_id']}-{n}"} for row in rows], SCHEMA), 1
            )
            for n in range(2000)
        )
        assert any(chosen["label"][0].as_py() == genus for chosen in found)


def test_the_draw_of_known_ids_never_changes():
    assert ids(draw_sample(many(3, 3, step=2), 5)) == ["S4", "S5", "S2", "S1", "S6"]


# Batches

shapes = st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(0, 6)).map(
    lambda each: (each[0] * each[1] + each[2], each[0], each[2])  # batch, group, rivals
)


@settings(deadline=None)
@given(specimens, shapes)
def test_every_row_stands_in_one_group_of_its_genus_and_every_batch_is_full(rows, shape):
    batch, group, rivals = shape
    kinds = np.array([int(genus[1:]) for genus, _ in rows])
    names = [f"S{number}" for number in range(len(rows))]
    found = arrange_batches(names, kinds, batch, group, rivals)
    assert found.shape[1] == batch
    groups = found[:, : batch - rivals].reshape(-1, group)
    assert (kinds[groups] == kinds[groups[:, :1]]).all()
    assert set(groups.ravel().tolist()) == {*range(len(rows))}
    assert np.isin(found, np.arange(len(rows))).all()
    needed = sum(-(-int(size) // group) for size in np.bincount(kinds))
    assert len(found) == -(-needed * group // (batch - rivals))  # no batch more than they fill
    once = groups[:needed]
    assert len({tuple(each) for each in once.tolist()}) == needed
    sizes = np.bincount(once.ravel(), minlength=len(rows))
    for kind in set(kinds.tolist()):  # views beyond the first fill a genus's last group, and no other
        assert sizes[kinds == kind].sum() == -(-int((kinds == kind).sum()) // group) * group
        assert sizes[kinds == kind].min() >= 1
        assert np.ptp(sizes[kinds == kind]) <= 1
    assert (np.resize(once, groups.shape) == groups).all()  # the last batch is filled from the beginning


def test_groups_of_all_genera_are_mixed():
    kinds = np.repeat(np.arange(10), 40)
    found = arrange_batches([f"S{n}" for n in range(400)], kinds, 40, 4, 0)
    assert min(len(set(kinds[row].tolist())) for row in found) >= 4


def test_rivals_are_of_all_genera_alike_and_of_all_their_rows():
    kinds = np.repeat([0, 1, 2], [1, 3, 400])
    found = arrange_batches([f"S{n}" for n in range(404)], kinds, 20, 2, 16)[:, 4:]
    share = np.bincount(kinds[found.ravel()]) / found.size
    np.testing.assert_allclose(share, 1 / 3, atol=0.04)
    assert set(found.ravel().tolist()) >= {0, 1, 2, 3}
    assert (found[0] != found[1]).any()


# The whole


@settings(deadline=None)
@given(specimens, sizes, shapes)
def test_the_sample_is_blind_to_the_shape_of_its_batches(rows, most, shape):
    batch, group, rivals = shape
    one = plan_validation(table(rows), ["G0", "G1"], most, batch, group, rivals)
    two = plan_validation(table(rows), ["G0", "G1"], most, 64, 1, 0)
    assert one.specimens.equals(two.specimens)
    assert (one.gatherings == two.gatherings).all()
    for label, genus in zip(one.labels.tolist(), one.specimens["label"].to_pylist(), strict=True):
        assert label == {"G0": 0, "G1": 1}.get(genus, -1)


@settings(deadline=None)
@given(specimens, sizes)
def test_an_obstacle_is_reported_exactly_where_nothing_can_be_compared(rows, most):
    whole = table(rows)
    found = plan_validation(whole, [], most, 8, 1, 0)
    assert bool(found.obstacle) == (counted(found.specimens) == 0)
    assert has_pairs(found.kinds, found.gatherings) == (not found.obstacle)
    assert ("raise validate_rows" in found.obstacle) == (bool(found.obstacle) and counted(whole) > 0)


@pytest.mark.parametrize(
    ("rows", "most", "message"),
    [
        (
            [("G0", None)],
            9,
            "none of the 1 names of the validation split has two gatherings to compare: write the shards",
        ),
        ([("G0", "C0"), ("G0", "C0"), ("G1", "C1")], 9, "none of the 2 names of the validation split"),
        ([("G0", None), ("G1", None), ("G1", None)], 1, "among 1 specimens of the validation split"),
    ],
)
def test_the_obstacle_names_what_to_change(rows, most, message):
    assert message in plan_validation(table(rows), [], most, 8, 1, 0).obstacle


def test_unknown_gatherings_are_each_its_own():
    assert number_gatherings(pa.chunked_array([["a", None, "b"], ["a", None]], pa.string())).tolist() == [1, 4, 2, 1, 7]
