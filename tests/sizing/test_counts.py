import pytest

from herbray.config import parse
from herbray.data import catalogue
from herbray.data.catalogue import Catalogue
from herbray.data.labels import read_labels
from herbray.data.planning.shard_plan import plan_shards
from herbray.data.sources.synthetic import Synthetic
from herbray.data.splitting.splits import Splits, split
from herbray.flow.shards.build import Shard
from herbray.sizing.counts import count_collection, estimate_splits, sample_files
from herbray.sizing.specification import Collection


@pytest.fixture(scope="module")
def herbarium(tmp_path_factory):
    folder = tmp_path_factory.mktemp("counts")
    source = Synthetic(path=folder / "sheets", sheets=120, size=48, genera=6, species=12, families=3, orders=2)
    catalogue.build(Catalogue(source=source, out=folder / "catalogue"))
    return folder


def test_a_catalogue_is_counted_as_it_will_be_split(herbarium):
    shard = Shard(splits=Splits(random=0.3), bag=4, file_rows=20)
    found = count_collection(Collection(catalogue=herbarium / "catalogue"), shard)
    table = catalogue.read(herbarium / "catalogue")
    assigned = split(table, shard.splits, shard.seed)
    files = plan_shards(table["specimen_id"].to_pylist(), read_labels(table, "genus"), assigned, 4, 20, shard.seed)
    assert found.sheets == 120
    assert set(found.splits) == {file.split for file in files}
    for name, counts in found.splits.items():
        mine = [file for file in files if file.split == name]
        assert counts.images == sum(len(file.rows) for file in mine)
        assert counts.bags == sum(len(file.bags) for file in mine)
        assert counts.classes["genus"] == len({label for file in mine for label in file.labels})
    assert found.images(("train", "random")) == found.splits["train"].images + found.splits["random"].images
    assert abs(found.files(20) - len(files)) <= len(found.splits)  # a file may be closed a little early or late


def test_files_are_sampled(herbarium):
    paths = sorted((herbarium / "sheets").rglob("*.jpg"))
    found = sample_files(paths)
    assert found.bytes == pytest.approx(sum(path.stat().st_size for path in paths) / len(paths))
    assert 48 * 48 <= found.pixels <= 48 * 48 * 2
    assert found.aspect == pytest.approx(found.pixels / 48**2, rel=0.02)
    with pytest.raises(ValueError, match="none of 1 files can be read here"):
        sample_files([herbarium / "nowhere.jpg"])


def test_shares_give_the_splits_of_a_number_of_sheets():
    shares = Splits(cap=None, species=0.1, random=0.1, validation=0.2)
    found = estimate_splits(1000, None, shares)
    assert found == {"train": 648, "validation": 162, "species": 100, "random": 90}
    assert estimate_splits(1000, 10, shares.model_copy(update={"cap": 25}))["species"] == 25
    with pytest.raises(ValueError, match=r"collection\.species is needed"):
        estimate_splits(1000, None, Splits())


@pytest.mark.parametrize(
    ("collection", "fault"),
    [
        ({}, "nothing to plan for"),
        ({"sheets": 10, "splits": {"train": 11}}, "hold 11 images of 10 sheets"),
        ({"sheets": 10, "splits": {"training": 5}}, "no split training"),
    ],
)
def test_bad_collections_are_refused(collection, fault):
    with pytest.raises(ValueError, match=fault):
        count_collection(parse(Collection, collection), Shard())
