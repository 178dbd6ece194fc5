import importlib.util
import os

import numpy as np
import pyarrow as pa
import pytest

from herbray import schema
from herbray.neighbours.projection import project
from herbray.report.figures import map as maps


def table(features, splits, ids=None):
    features = np.asarray(features, dtype=np.float32)
    rows = [
        {
            "specimen_id": ids[n] if ids else f"s{n:05d}",
            "family": ("Rosaceae", "Poaceae", None)[n % 3],
            "split": splits[n % len(splits)],
            "embedding": row,
        }
        for n, row in enumerate(features)
    ]
    return pa.Table.from_pylist(rows, schema=schema.embedding_schema(features.shape[1]))


def gaussian(rows, dim=6, seed=0):
    return np.random.default_rng(seed).normal(size=(rows, dim)) * np.arange(dim, 0, -1)


def test_principal_components_equal_the_singular_vectors_up_to_sign():
    features = gaussian(50)
    points = maps._select_points(table(features, ["train"]))
    centred = points.features - points.features.mean(axis=0)
    u, s, _ = np.linalg.svd(centred, full_matrices=False)
    assert np.allclose(np.abs(project(points.features, points.fitted, "pca")), np.abs(u[:, :2] * s[:2]), atol=1e-6)


def test_test_specimens_do_not_move_the_training_ones():
    features = gaussian(60)
    alone = maps._select_points(table(features[:40], ["train"]))
    both = table(np.vstack([features[:40], 50 + features[40:]]), ["train"] * 40 + ["random"] * 20)
    joint = maps._select_points(both)
    assert joint.fitted.sum() == 40
    places = project(joint.features, joint.fitted, "pca")[joint.fitted]
    assert np.allclose(np.sort(places, axis=0), np.sort(project(alone.features, alone.fitted, "pca"), axis=0))


def test_without_training_specimens_the_largest_split_is_fitted():
    points = maps._select_points(table(gaussian(30), ["random", "random", "species"]))
    assert points.fitted.sum() == 20


def test_the_same_specimens_are_chosen_for_every_model_in_any_order(monkeypatch):
    monkeypatch.setattr(maps, "MOST_POINTS", 10)
    first = table(gaussian(50, seed=1), ["train"])
    second = table(gaussian(50, seed=1), ["train"]).take(np.random.default_rng(2).permutation(50))
    assert np.array_equal(maps._select_points(first).features, maps._select_points(second).features)
    assert len(maps._select_points(first).splits) == 10


def test_features_that_are_not_finite_are_left_out():
    features = gaussian(20)
    features[3, 2] = np.nan
    assert len(maps._select_points(table(features, ["train"])).splits) == 19


def test_two_specimens_make_no_map_and_one_feature_makes_a_flat_one():
    assert maps.draw_map({"triplet": table(gaussian(2), ["train"])}, "pca", "map") is None
    points = maps._select_points(table(gaussian(9, dim=1), ["train"]))
    assert project(points.features, points.fitted, "pca").shape == (9, 2)


def test_identical_features_are_drawn():
    assert maps.draw_map({"triplet": table(np.ones((9, 4)), ["train", "random"])}, "pca", "map") is not None


def test_the_caption_says_how_and_on_what_the_map_was_fitted():
    drawing = maps.draw_map({"triplet": table(gaussian(30), ["train", "herbarium"])}, "pca", "map")
    assert drawing.caption.startswith("First two principal components, fitted on train")
    assert "At most 30 specimens per panel" in drawing.caption
    assert "triplet" in drawing.alt


@pytest.mark.skipif(importlib.util.find_spec("umap") is not None, reason="umap-learn is installed")
def test_umap_that_is_not_installed_is_refused():
    with pytest.raises(ValueError, match="pip install"):
        maps.draw_map({"triplet": table(gaussian(30), ["train"])}, "umap", "map")


@pytest.mark.skipif(
    importlib.util.find_spec("umap") is None or "HERBRAY_SLOW" not in os.environ,
    reason="needs umap-learn, which compiles for half a minute: set HERBRAY_SLOW=1",
)
def test_umap_separates_clusters_and_repeats_itself():
    features = gaussian(90) + np.where(np.arange(90) < 45, 0, 60)[:, None]
    points = maps._select_points(table(features, ["train", "train", "random"]))
    places = project(points.features, points.fitted, "umap")
    near = points.features[:, 0] < 30
    spread = max(places[near].std(axis=0).max(), places[~near].std(axis=0).max())
    assert np.linalg.norm(places[near].mean(axis=0) - places[~near].mean(axis=0)) > 2 * spread
    assert np.array_equal(places, project(points.features, points.fitted, "umap"))
