"""What a study learns from labels before an image is read."""

import csv
from collections import Counter

import pytest

from herbray import config, schema
from herbray.data import catalogue
from herbray.data.catalogue import Catalogue
from herbray.flow.embedding.specification import Embed
from herbray.flow.evaluation.job import Evaluate
from herbray.flow.shards.build import Shard
from herbray.flow.shards.specimens import read_specimen_columns
from herbray.flow.study.preflight import check_training, preflight, preflight_on_shards, split_catalogue
from herbray.flow.training.specification import Train
from herbray.flow.training.training_data import read_training_data
from herbray.tasks import describe_left_out

TRAIN = config.parse(Train, {"encoder": {"arch": "mobilenet_v3_small", "size": 32}, "stream": {"batch": 8}})


def catalogue_of(folder, rows):
    """A catalogue of sheets whose images do not exist."""
    folder.mkdir(parents=True, exist_ok=True)
    columns = ["specimen_id", "image", *schema.RANKS, "institution", "gathering"]
    with (folder / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows({"specimen_id": f"S{n:04d}", "image": f"{n}.jpg", **row} for n, row in enumerate(rows))
    source = {"name": "folder", "path": str(folder)}
    catalogue.build(config.parse(Catalogue, {"source": source, "out": str(folder / "catalogue")}))
    return folder / "catalogue"


def sheets(genera=6, species=3, each=30, families=3, institutions=3, **fixed):
    """Sheets of as many genera; families of equally many genera; a gathering a sheet."""
    rows = []
    for number in range(genera * each):
        genus, kind = number % genera, number // genera // institutions % species
        row = {"genus": f"G{genus}", "species": f"G{genus} s{kind}", "family": f"F{genus % families}", "order": "O"}
        rows.append(row | {"institution": f"I{number // genera % institutions}", "gathering": f"c {number}"} | fixed)
    return rows


def preflight_of(folder, rows, splits=None, evaluate=None, embed=None, train=TRAIN):
    shard = config.parse(Shard, {"catalogue": str(catalogue_of(folder, rows)), "side": 48, "splits": splits or {}})
    evaluate = config.parse(Evaluate, evaluate or {})
    return preflight(shard, config.parse(Embed, embed or {}), evaluate, [(train, shard)])


def told(found):
    return describe_left_out(found.left_out, found.absent)


def test_where_all_is_there_nothing_is_left_out_but_the_rank_of_one_name(tmp_path):
    found = preflight_of(tmp_path, sheets(each=150), {"random": 0.3})
    assert found.splits == schema.TEST_SPLITS
    assert {each.level for each in found.left_out if each.split == "random"} == {"order"}


def test_one_family_is_reported_before_an_image_is_read(tmp_path):
    """Before: minutes of training, then "identify, split 'random', rank 'family': 1 of 1 classes have the 5 rows"."""
    rows = sheets(families=1, institutions=1)
    assert told(preflight_of(tmp_path, rows, {"random": 0.4, "species": 0})) == [
        "split herbarium: all sheets are of one institution, I0",
        "identify, discriminate, mislabel on species: no specimen is in this split",
        "identify at family, order on random: "
        "1 of 1 classes have the 5 gatherings that 5 folds need, but at least two must",
    ]


def test_no_order_and_no_family_leave_the_genus(tmp_path):
    found = preflight_of(tmp_path, sheets(order="", family=""), {"random": 0.3})
    left_out = {(each.task, each.level) for each in found.left_out if each.split != "species"}
    assert {("identify", "family"), ("identify", "order")} <= left_out
    assert {task for task, level in left_out if not level} == {"discriminate", "mislabel"}


def test_one_institution_and_none_have_no_herbarium_test(tmp_path):
    """Before: EmptySplit, "split 'herbarium' is empty; set splits.home to another institution"."""
    for number, institution in enumerate(("K", "")):
        found = preflight_of(tmp_path / str(number), sheets(institution=institution), {"random": 0.3})
        assert found.splits == ("species", "random")
        assert set(found.absent) == {"herbarium"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rows", "settings", "message"),
    [
        (sheets(genera=1), {}, "are of one genus, G0"),
        (sheets(institution="K"), {"splits": {"home": "auto"}}, "split 'herbarium' is empty"),
        (
            sheets(institution="K"),
            {"embed": {"splits": ["herbarium", "random"]}},
            r"no specimens in herbarium \(all sheets are of one institution, K\); the shards",
        ),
        (sheets(institution="K"), {"embed": {"splits": ["herbarum"]}}, "herbarum unknown"),
        (sheets(families=1), {"evaluate": {"tasks": [{"name": "identify", "ranks": ["family"]}]}}, "identify: family"),
        (sheets(), {"evaluate": {"preset": "walker2022"}}, "Syzygium–Eugenia, listed in `pairs`"),
        (
            sheets(gathering="one"),
            {"splits": {"home": None}},
            r"no specimens in herbarium, species \(without any one species.*, random \(a share",
        ),
        (sheets(genera=2, each=5, families=2), {}, "no task can be scored with these labels"),
        (
            sheets(),
            {"train": config.parse(Train, {"encoder": {"size": 64}})},
            "triplet: encoder.size=64 px, .* side=48",
        ),
        (
            sheets(),
            {
                "train": config.parse(
                    Train,
                    {"encoder": {"arch": "mobilenet_v3_small", "size": 32}, "stream": {"batch": 31}, "label": "odd"},
                )
            },
            "odd: stream.batch=31 cannot be cut into groups",
        ),
    ],
)
def test_what_cannot_be_had_is_an_error_before_an_image_is_read(tmp_path, rows, settings, message):
    with pytest.raises(ValueError, match=message):
        preflight_of(tmp_path, rows, **settings)


def test_finished_shards_allow_what_their_catalogue_does(shards, herbarium):
    """No image of the small herbarium is refused."""
    spec = config.parse(
        Shard, {"catalogue": str(herbarium), "splits": {"species": 0.1, "random": 0.2, "validation": 0.25}, "side": 40}
    )
    first = preflight(spec, Embed(), Evaluate(), [(TRAIN, spec)])
    again = preflight_on_shards(shards, Embed(), Evaluate())
    assert (first.splits, first.absent) == (again.splits, again.absent)
    assert told(first) == told(again)


def test_the_batches_are_checked_on_the_bags_that_the_shards_will_have(shards, herbarium):
    spec = config.parse(
        Shard,
        {
            "catalogue": str(herbarium),
            "splits": {"species": 0.1, "random": 0.2, "validation": 0.25},
            "side": 40,
            "bag": 8,
        },
    )
    table = split_catalogue(spec)
    planned = Counter(table.filter([name == "train" for name in table["split"].to_pylist()])["genus"].to_pylist())
    assert planned == Counter(read_specimen_columns(shards, "train")["genus"].to_pylist())
    job = TRAIN.model_copy(update={"shards": shards})
    check_training(job, spec, table)
    assert read_training_data(job).windows
    odd = job.model_copy(update={"stream": job.stream.model_copy(update={"batch": 7})})
    for refused in (lambda: check_training(odd, spec, table), lambda: read_training_data(odd)):
        with pytest.raises(ValueError, match="batch=7 cannot be cut into groups"):
            refused()


def test_a_mask_without_boxes_and_balance_of_one_herbarium_are_refused_at_once(tmp_path):
    folder = catalogue_of(tmp_path, sheets())
    masked = config.parse(Shard, {"catalogue": str(folder), "side": 48, "mask": "boxes"})
    with pytest.raises(ValueError, match=r"mask=boxes, but .*catalogue has no column mask_boxes: add it"):
        preflight(masked.model_copy(update={"mask": "none"}), Embed(), Evaluate(), [(TRAIN, masked)])
    balanced = config.parse(Train, TRAIN.model_dump(exclude_unset=True) | {"stream": {"batch": 8, "herbaria": 1}})
    with pytest.raises(ValueError, match=r"triplet: stream\.herbaria=1, but all training sheets are of one herbarium"):
        preflight_of(tmp_path / "one", sheets(), train=balanced)
    preflight_of(tmp_path / "two", sheets(), {"home": ["I0", "I1"]}, train=balanced)
