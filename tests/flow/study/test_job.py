import csv
import itertools
from dataclasses import asdict
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from herbray import config, schema, storage
from herbray.data import catalogue
from herbray.data.catalogue import Catalogue
from herbray.flow.embedding_folder import read_embeddings
from herbray.flow.study.cells import list_cells
from herbray.flow.study.job import count_cpus, study
from herbray.flow.study.setting_effects import describe_differences
from herbray.flow.study.specification import Study
from herbray.model.encoder_card import read_encoder
from herbray.tracking.registry import read_aliases

SOURCE = {"name": "synthetic", "path": "sheets", "sheets": 240, "size": 48, "genera": 8, "species": 24}
TRAIN = {
    "encoder": {"arch": "mobilenet_v3_small", "size": 32},
    "stream": {"batch": 16},
    "epochs": 1,
    "reports": 1,
    "workers": 0,
}


def spec(out="runs/x", **settings):
    tree = {
        "out": str(out),
        "catalogue": {"source": SOURCE | {"path": f"{out}/sheets"}},
        "shard": {"side": 40, "bag": 8, "file_rows": 64, "splits": {"species": 0, "random": 0.35, "validation": 0.2}},
        "train": [TRAIN | {"objective": {"name": name}} for name in ("triplet", "classifier")],
        "embed": {"splits": ["train", "random"], "actors": 0},
        "evaluate": {
            "tasks": [{"name": "identify", "splits": ["random"]}, {"name": "silhouette", "splits": ["train"]}],
            "bootstrap": {"resamples": 100},
        },
        "report": {"projection": "pca", "sheets": 4},
    }
    return config.parse(Study, tree | settings)


PRETRAINING = {
    "catalogue": {"source": SOURCE},
    "shard": {"side": 32},
    "train": TRAIN | {"objective": {"name": "autoencoder", "width": 8}},
}


def test_the_grid_is_every_objective_from_every_start_with_every_seed():
    trained, frozen = list_cells(
        spec(inits=["random", "pretraining"], seeds=[1, 2], pretraining=PRETRAINING), "models:/before/1"
    )
    cells = [(c.train.objective.name, c.train.encoder.init, c.train.seed) for c in trained]
    assert cells == [
        (name, init, seed)
        for name in ("triplet", "classifier")
        for init in ("random", "models:/before/1")
        for seed in (1, 2)
    ]
    assert len({c.train.out for c in trained}) == 8
    starts = [(c.embed.start.init, c.embed.seed) for c in frozen]
    assert starts == [("random", 1), ("random", 2), ("models:/before/1", 1)]


def test_one_start_and_one_seed_are_the_trainings_own():
    trained, frozen = list_cells(spec(frozen=[{"size": 40, "stem": "cifar"}, TRAIN["encoder"]]), None)
    assert [c.train.out.name for c in trained] == ["triplet", "classifier"]
    assert [c.train.seed for c in trained] == [89, 89]
    assert [c.embed.start.size for c in frozen] == [32, 40]


def test_a_study_that_names_no_folder_stays_out_of_the_demos():
    tree = {"catalogue": {"source": SOURCE}, "train": [TRAIN]}
    assert str(config.parse(Study, tree).out) == "runs/study"
    demo = config.load(Study, Path(__file__).parents[3] / "jobs" / "demo.yaml", [])
    assert str(demo.out) == "runs/demo"


def test_unavailable_start_weights_are_reported_before_anything_is_trained(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(ValueError, match=r"mobilenet_v3_small-047dcff4\.pth"):
        list_cells(spec(inits=["imagenet"]), None)


def test_every_training_has_its_own_start_beside_it_each_once():
    drawn = TRAIN | {"objective": {"name": "autoencoder", "width": 8}, "encoder": {"size": 32, "stem": "cifar"}}
    _, frozen = list_cells(spec(train=[TRAIN, drawn]), None)
    assert [(c.embed.start.init, c.embed.start.stem) for c in frozen] == [("random", "standard"), ("random", "cifar")]
    smaller = TRAIN | {"encoder": {"arch": "mobilenet_v3_small", "size": 24}}
    _, frozen = list_cells(spec(train=[TRAIN, smaller, drawn], frozen=[{"size": 40}, smaller["encoder"]]), None)
    assert [c.embed.start.size for c in frozen] == [32, 24, 32, 40]


def test_trainings_of_one_objective_need_no_label_and_have_folders_of_their_own():
    faster = TRAIN | {"optimizer": {"lr": 0.01}}
    settings = {"train": [TRAIN, faster, TRAIN | {"label": "triplet", "epochs": 2}], "seeds": [1, 2]}
    first, *others = (Path(c.train.out.name) for c in list_cells(spec(**settings), None)[0])
    assert first.name == "triplet-seed1"
    assert len({first, *others}) == 6
    again = [c.train.out.name for c in list_cells(spec(**settings | {"train": [TRAIN, faster]}), None)[0]]
    assert again == [first.name, *(each.name for each in others[:3])]  # a further training moves no other


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"train": [TRAIN | {"encoder": {"size": 32, "init": "imagenet"}}]}, r"resnet18-f37072fd\.pth"),
        ({"frozen": [{"size": 32, "init": "imagenet"}]}, r"resnet18-f37072fd\.pth"),
        (
            {
                "inits": ["pretraining"],
                "pretraining": PRETRAINING,
                "train": [TRAIN | {"encoder": TRAIN["encoder"] | {"normalise": False}}],
            },
            "triplet: encoder.normalise=False, but the pretraining has encoder.normalise=True",
        ),
    ],
)
def test_what_a_study_lacks_is_reported_before_its_catalogue_is_built(tmp_path, monkeypatch, settings, message):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(ValueError, match=message):
        study(spec(out=tmp_path / "study", **settings))
    assert not (tmp_path / "study").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"seeds": [1, 1]}, "1 given twice"),
        ({"inits": ["random", "random"]}, "random given twice"),
        ({"train": [TRAIN, TRAIN]}, r"train\.1 \(triplet\) is the same training as train\.0 \(triplet\): change a"),
        ({"inits": ["pretraining"]}, "`pretraining` is not set"),
        ({"pretraining": PRETRAINING}, "no init is .pretraining."),
        ({"train": []}, "at least 1"),
        ({"train": [TRAIN, TRAIN | {"label": "other"}]}, r"train\.1 \(other\) is the same training as train\.0"),
        ({"train": [TRAIN, TRAIN | {"seed": 7}], "seeds": [1, 2]}, "is the same training"),
        ({"other_shards": {"tripled": {}}}, "no training is called 'tripled'; there are triplet, classifier"),
        ({"other_shards": {"triplet": {"side": 40}}}, r"splits, labels\.rank or seed differ from those of shard"),
        (
            {"train": [TRAIN | {"encoder": {"size": 32, "stem": "cifar"}}], "inits": ["random", "imagenet"]},
            "triplet from imagenet.*set encoder.stem=standard",
        ),
    ],
)
def test_encoders_that_results_could_not_distinguish_are_refused(settings, message):
    with pytest.raises(config.ConfigError, match=f"(?s){message}"):
        spec(**settings)


def test_each_cell_with_other_shards_learns_from_them_and_is_embedded_from_them():
    settings = spec().shard.model_dump()
    two = spec(train=[TRAIN, TRAIN | {"label": "whole sheets"}], other_shards={"whole sheets": settings | {"side": 64}})
    trained, frozen = list_cells(two, None)
    assert [cell.train.shards.name for cell in trained] == ["shards", "shards-whole_sheets-1ddd88"]
    assert [cell.embed.shards for cell in trained] == [cell.train.shards for cell in trained]
    assert [cell.train.out.name for cell in trained] == ["triplet", "whole_sheets-1ddd88"]
    assert {cell.embed.shards.name for cell in frozen} == {"shards"}


def test_labels_that_differ_in_signs_only_have_folders_of_their_own():
    labels = {"+decay": 0.1, "-decay": 0.0}
    two = spec(train=[TRAIN | {"label": name, "optimizer": {"weight_decay": value}} for name, value in labels.items()])
    assert len({cell.train.out for cell in list_cells(two, None)[0]}) == 2


def embedded(folder, model, objective, init, settings):
    """What `describe_differences` reads of an embeddings folder."""
    identity = schema.Identity(model, folder.name, objective, f"kind of {folder.name}", init, "", 1)
    folder.mkdir()
    storage.write_note(folder / "manifest.json", asdict(identity) | {"settings": settings})
    return identity


def test_a_difference_is_the_first_setting_less_the_second_from_one_start(tmp_path):
    place = {"task": "identify", "split": "random", "level": "genus", "metric": "accuracy", "specimens": 9}
    seeds = {"seeds_a": 3, "encoders_a": [], "seeds_b": 2, "encoders_b": [], "lower_is_better": False}
    found = {"difference": -0.02, "low": -0.03, "high": -0.01, "better": "b"}
    encoders = {
        name: embedded(tmp_path / name, model, objective, init, {"optimizer": {"lr": rate}, "epochs": 1})
        for name, model, objective, init, rate in (
            ("pad", "triplet", "triplet", "random", 0.5),
            ("crop", "triplet", "triplet", "random", 0.25),
            ("zoom", "zoomed in", "triplet", "random", 0.5),
            ("other start", "triplet", "triplet", "imagenet", 0.5),
            ("other objective", "classifier", "classifier", "random", 0.5),
        )
    }
    pairs = [("crop", "pad"), ("other start", "pad"), ("other objective", "pad"), ("crop", "zoom")]  # neither is first
    rows = []
    for pair in pairs:
        row = place | seeds | found
        for end, name in zip("ab", pair, strict=True):
            row |= {f"{key}_{end}": value for key, value in asdict(encoders[name]).items()}
        rows.append(row)
    (line,) = describe_differences(
        pa.Table.from_pylist(rows, schema=schema.COMPARISON), [tmp_path / name for name in encoders]
    )
    assert line == (
        "triplet (lr=0.5) minus triplet (lr=0.25) from random, identify genus on random, accuracy: "
        "+2.0 (1.0 to 3.0) points, triplet (lr=0.5) is better; 2 and 3 seeds"
    )


@pytest.mark.long
def test_an_experiment_on_settings_reports_paired_differences_in_one_table(tmp_path, cluster, capsys):
    few = {"source": SOURCE | {"path": str(tmp_path / "sheets"), "sheets": 160}}
    train = [TRAIN | {"label": "cropped"}, TRAIN | {"label": "padded"}]
    task = {"tasks": [{"name": "identify", "splits": ["random"], "ranks": ["genus"]}], "bootstrap": {"resamples": 100}}
    shards = spec().shard.model_dump() | {"geometry": "pad"}
    study(spec(tmp_path, catalogue=few, train=train, other_shards={"padded": shards}, evaluate=task))
    assert set(results(tmp_path)["model"].to_pylist()) == {"cropped", "padded", "mobilenet_v3_small"}
    said = " ".join(capsys.readouterr().err.split())
    assert "cropped minus padded from random, identify genus on random, accuracy:" in said
    cards = {read_encoder(file.parent)[1].geometry for file in tmp_path.glob("train/*/encoder/encoder.json")}
    assert cards == {"crop", "pad"}


def folder_of(root, rows):
    """The images of a drawn herbarium under other labels, as a source."""
    columns = ("specimen_id", "image", *schema.RANKS, "institution", "gathering")
    with (root / "mine.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(row | {"image": str(Path(row["image"]).relative_to(root.resolve()))} for row in rows)
    return {"source": {"name": "folder", "path": str(root), "labels": "mine.csv"}}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Rows of a drawn herbarium and the folder of its images."""
    root = tmp_path_factory.mktemp("drawn")
    catalogue.build(config.parse(Catalogue, {"source": SOURCE | {"path": str(root)}, "out": str(root / "catalogue")}))
    return root, catalogue.read(root / "catalogue").to_pylist()


@pytest.mark.long
def test_sheets_of_one_family_and_institution_end_in_a_report_of_what_they_allow(tmp_path, cluster, capsys, drawn):
    """Before: an error at once (no herbarium test), or, without that test, minutes later (one family)."""
    root, rows = drawn
    mine = folder_of(root, [row | {"family": "Aceae", "order": "Ales", "institution": "K"} for row in rows])
    splits = {"random": 0.35, "validation": 0.2}
    shard = {"side": 40, "bag": 8, "file_rows": 64, "splits": splits}
    few = spec(tmp_path, catalogue=mine, shard=shard, train=[TRAIN], embed={"actors": 0}, evaluate={})
    page = study(few)
    said = capsys.readouterr().err
    assert said.count("left out  split herbarium: all sheets are of one institution, K") == 1
    assert said.count("left out  identify at family, order on") == 1
    assert said.index("left out") < said.index("shards")
    assert {row["level"] for row in results(tmp_path).to_pylist() if row["task"] == "identify"} == {"genus"}
    assert "all sheets are of one institution, K" in page.read_text()


@pytest.mark.slow
def test_one_genus_is_refused_before_an_image_is_read(tmp_path, drawn):
    root, rows = drawn
    mine = folder_of(root, [row | {"genus": "Rosa"} for row in rows])
    with pytest.raises(ValueError, match="are of one genus, Rosa"):
        study(spec(tmp_path, catalogue=mine))
    assert not (tmp_path / "shards").exists()


def results(folder):
    return pq.read_table(folder / "results.parquet", schema=schema.RESULT)


def times(folder):
    """When each weight and each embedding was written."""
    files = [*folder.glob("train/*/encoder/*.safetensors"), *folder.glob("embeddings/*/split=*/*")]
    return {path: path.stat().st_mtime_ns for path in files}


def test_a_study_repeats_its_table_and_resumes_where_it_stopped(tmp_path, cluster):
    one, two = tmp_path / "one", tmp_path / "two"
    page = study(spec(one, seeds=[1, 2]))
    table = results(one)
    assert page == one / "report.html"
    assert "fitted on train; other splits are projected" in page.read_text()
    assert {"silhouette"} == {row["task"] for row in table.to_pylist() if row["split"] == "train"}
    encoders = set(zip(*(table[name].to_pylist() for name in schema.IDENTITY.names), strict=True))
    told = sorted((each.model, each.init, each.seed) for each in itertools.starmap(schema.Identity, encoders))
    assert told == [
        (name, "random", seed) for name in ("classifier", "mobilenet_v3_small", "triplet") for seed in (1, 2)
    ]
    assert len({each.kind for each in itertools.starmap(schema.Identity, encoders)}) == 3
    compared = pq.read_table(one / "results-comparisons.parquet").to_pylist()
    against_start = {
        row[f"model_{end}"]
        for row in compared
        for end, other in ("ab", "ba")
        if row[f"start_kind_{end}"] == row[f"kind_{other}"] and row["seeds_b"] == 2
    }
    assert against_start >= {"classifier", "triplet"}
    values = [table.filter(pc.equal(table["seed"], seed))["value"].to_pylist() for seed in (1, 2)]
    assert values[0] != values[1]

    study(spec(two, seeds=[1], train=[TRAIN]))  # as if the other cells had not begun
    before = {path.relative_to(two): time for path, time in times(two).items() if "embeddings" in path.parts}
    assert len(before) >= 2
    study(spec(two, seeds=[1, 2]))
    after = {path.relative_to(two): time for path, time in times(two).items()}
    assert before.items() <= after.items()
    assert results(two) == table
    for folder in {path.parents[1] for path in times(two) if "embeddings" in path.parts}:
        ids = read_embeddings(folder)["specimen_id"].to_pylist()
        assert len(set(ids)) == len(ids)


def test_a_collection_of_one_genus_is_trained_and_scored_on_species(tmp_path, cluster, drawn):
    root, rows = drawn
    one = {"order": "Rosales", "family": "Rosaceae", "genus": "Rosa"}
    mine = folder_of(root, [row | one | {"species": f"Rosa {row['species'].split()[-1]}"} for row in rows])
    splits = {"home": None, "random": 0.6, "cap": None}
    shard = {"side": 40, "bag": 8, "labels": {"rank": "species"}, "splits": splits}
    study(spec(tmp_path, catalogue=mine, shard=shard, train=[TRAIN], embed={"actors": 0}, evaluate={}))
    assert {row["level"] for row in results(tmp_path).to_pylist() if row["task"] == "identify"} == {"species"}
    assert "species on R (random)" in (tmp_path / "report.html").read_text()
    assert read_aliases(f"sqlite:///{tmp_path}/mlflow.db", "herbray-triplet").keys() == {"candidate", "champion"}


@pytest.mark.parametrize(
    ("workers", "pretrained", "actors", "due"), [(0, 0, 0, 3), (1, 0, 0, None), (0, 1, 0, None), (0, 0, 1, None)]
)
def test_trainings_in_single_processes_have_a_core_each(workers, pretrained, actors, due, monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 3)
    source = {"source": SOURCE}
    tree = {
        "catalogue": source,
        "train": [{"workers": 0}, {"objective": {"name": "classifier"}, "workers": workers}],
        "embed": {"actors": actors},
        "inits": ["pretraining"],
        "pretraining": {"catalogue": source, "train": {"workers": pretrained}},
    }
    assert count_cpus(config.parse(Study, tree)) == due
