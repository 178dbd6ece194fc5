"""The study's triplets, one forward an image: the same distribution and the same expected loss as the literal form."""

import itertools
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
import torch
from scipy.stats import chi2

from herbray import schema
from herbray.config import ConfigError, parse
from herbray.data.planning import plan
from herbray.data.planning.plan import Stream
from herbray.data.planning.window import order_rows
from herbray.model.objectives.triplet import Triplet, choose_published

SIZES = {"A": 7, "B": 2, "C": 12, "D": 5}
BAG = 4
SPECIMENS = [(genus, i) for genus, many in SIZES.items() for i in range(many)]
GENERA = sorted(SIZES)
LABEL = torch.tensor([GENERA.index(genus) for genus, _ in SPECIMENS])
RIVALS = 8


def literal(features, margin=1.0):
    """Every triplet of the literal form with its probability: {(anchor, positive, negative): p}, and E of the loss."""
    law, loss = {}, 0.0
    members = {g: [i for i, (genus, _) in enumerate(SPECIMENS) if genus == g] for g in GENERA}
    far = np.linalg.norm(features[:, None] - features[None], axis=2)
    for a, (genus, _) in enumerate(SPECIMENS):
        for p, other in itertools.product(members[genus], [g for g in GENERA if g != genus]):
            for n in members[other]:
                law[a, p, n] = 1 / len(SPECIMENS) / len(members[genus]) / (len(GENERA) - 1) / len(members[other])
                loss += law[a, p, n] * max(0.0, far[a, p] - far[a, n] + margin)
    assert sum(law.values()) == pytest.approx(1)
    return law, loss


def batches(epochs):
    """Batches of specimens, each epoch on shards of another seed: specimens were dealt to bags anew."""
    rows, cuts = [], []
    for genus, many in SIZES.items():
        for start in range(0, many, BAG):
            cuts.append((genus, start))
            size = min(BAG, many - start)
            rows.append({"split": "train", "file": "f", "row_group": len(rows), "label": genus, "rows": size})
    index = pa.Table.from_pylist(rows, schema=schema.INDEX)
    first = {genus: SPECIMENS.index((genus, 0)) for genus in GENERA}
    for epoch in range(epochs):
        rng = np.random.default_rng(epoch)
        dealt = {genus: first[genus] + rng.permutation(many) for genus, many in SIZES.items()}
        stream = Stream(batch=16 + RIVALS, window=4, align=1)
        for window in plan.plan_epoch(index, GENERA, stream, 2, 3, epoch, rivals=RIVALS):
            order = order_rows(window)
            for places, picked in zip(order.slice, order.row, strict=True):
                where = [cuts[window.slices[place].bag] for place in places]
                yield np.array([dealt[g][start + row] for (g, start), row in zip(where, picked, strict=True)])


def fits(counts, law, total):
    """Chi-square of counts against a law, as a tail probability."""
    statistic = sum((counts[key] - total * p) ** 2 / (total * p) for key, p in law.items())
    assert set(counts) <= set(law)
    return chi2.sf(statistic, len(law) - 1)


@pytest.fixture(scope="module")
def drawn():
    """One triplet of every batch: those of one batch share rivals, and a pair is two anchors."""
    torch.manual_seed(0)
    found = []
    for number, specimens in enumerate(batches(2500)):
        chosen = choose_published(LABEL[specimens], RIVALS)
        place = number % 16
        if chosen.counts[place]:  # in so small a window both bags of rivals may be of the anchor's genus
            found.append(tuple(int(specimens[rows[place]]) for rows in chosen[:3]))
    return found


def marginal(law, places):
    out = Counter()
    for key, p in law.items():
        out[tuple(key[i] for i in places)] += p
    return out


@pytest.mark.slow
@pytest.mark.parametrize("places", [(0,), (1,), (2,), (0, 1), (0, 2), (1, 2)])
def test_triplets_are_distributed_as_in_the_literal_form(drawn, places):
    law = marginal(literal(np.zeros((len(SPECIMENS), 1)))[0], places)
    counts = Counter(tuple(triplet[i] for i in places) for triplet in drawn)
    assert fits(counts, law, len(drawn)) > 1e-3


@pytest.mark.long
@pytest.mark.slow
def test_the_check_would_notice_negatives_drawn_by_frequency(drawn):
    law = Counter()
    for a, (genus, _) in enumerate(SPECIMENS):
        rest = [i for i, (other, _) in enumerate(SPECIMENS) if other != genus]
        for n in rest:
            law[a, n] = 1 / len(SPECIMENS) / len(rest)
    assert fits(Counter((a, n) for a, _, n in drawn), law, len(drawn)) < 1e-12


@pytest.mark.long
def test_the_expected_loss_is_that_of_the_literal_form():
    features = torch.randn(len(SPECIMENS), 4, generator=torch.Generator().manual_seed(1))
    due = literal(features.numpy().astype(float))[1]
    settings = {"mining": "published", "margin": 1.0, "normalise": False, "group": 2, "rivals": RIVALS}
    objective = Triplet(**settings).build(4, 32, 4)
    torch.manual_seed(0)
    losses = [
        objective(features[rows], torch.empty(0), LABEL[rows])["loss"].item()
        for rows in map(torch.tensor, batches(1500))
    ]
    error = np.std(losses) / len(losses) ** 0.5
    assert error < 0.02 * due
    assert abs(np.mean(losses) - due) < 3.5 * error


def test_mates_are_each_others_positive_and_rivals_are_no_anchors():
    labels = torch.tensor([0, 0, 1, 1, 2, 0, 1, -1])
    for seed in range(20):
        torch.manual_seed(seed)
        found = choose_published(labels, 4)
        assert found.anchor.tolist() == [0, 1, 2, 3]
        assert found.positive.tolist() == [1, 0, 3, 2]
        assert all(labels[n] not in (-1, labels[a]) for a, n in zip(found.anchor, found.negative, strict=True))


def test_an_anchor_without_a_rival_of_another_genus_does_not_count():
    found = choose_published(torch.tensor([0, 0, 1, 1, 0, 0]), 2)
    assert found.counts.tolist() == [False, False, True, True]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mining": "published"}, "set rivals=16"),
        ({"mining": "published", "rivals": 8}, "set group=2, views=1, not 4, 1"),
        ({"rivals": 8}, "only mining=published uses rivals"),
    ],
)
def test_settings_that_do_not_go_together(settings, message):
    with pytest.raises(ConfigError, match=message):
        parse(Triplet, settings)
