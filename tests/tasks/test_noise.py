import numpy as np
import pytest

from herbray.config import ConfigError, load
from herbray.tasks.methods.pairs import Pair
from herbray.tasks.mislabel import Mislabel
from herbray.tasks.noise import Noise

PAIR = Pair(positive="Alba", negative="Erema", kind="distinct")


@pytest.fixture(scope="module")
def embeddings(embeddings_of):
    return embeddings_of({"Alba": 60, "Erema": 60}, separation=3.0)


@pytest.mark.slow
def test_a_share_of_the_sweep_is_the_mislabel_task_at_that_share(embeddings):
    swept = Noise(pairs=(PAIR,), shares=(0.1, 0.3), draws=3).run(embeddings, "random")
    for share, level in ((0.1, "Alba–Erema @ 10%"), (0.3, "Alba–Erema @ 30%")):
        alone = Mislabel(pairs=(PAIR,), share=share, draws=3).run(embeddings, "random")
        found = {(score.fold, score.metric): score.value for score in swept if score.level == level}
        assert found == {(score.fold, score.metric): score.value for score in alone}


def test_more_wrong_names_are_harder_to_find(embeddings):
    scores = Noise(pairs=(PAIR,), shares=(0.05, 0.45), draws=4).run(embeddings, "random")
    few, many = (
        np.mean([s.value for s in scores if s.level == f"Alba–Erema @ {share}%" and s.metric == "auroc"])
        for share in (5, 45)
    )
    assert few > 0.9
    assert many < few - 0.1


def test_parts_are_one_share_each_and_half_is_refused():
    assert [part.shares for part in Noise(shares=(0.1, 0.2)).parts()] == [(0.1,), (0.2,)]
    with pytest.raises(ConfigError, match=r"shares.*less than 0\.5"):
        load(Noise, overrides=["shares=[0.5]"])
    with pytest.raises(ConfigError, match="occurs twice"):
        load(Noise, overrides=["shares=[0.1, 0.1]"])
