import pytest

from herbray.flow.evaluation.job import embeddings_folders
from herbray.storage import MissingFile


@pytest.fixture
def embeddings(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name / "split=random").mkdir(parents=True)
        (tmp_path / name / "manifest.json").touch()
    (tmp_path / "encoders" / "start").mkdir(parents=True)  # start weights lie beside the embeddings
    return tmp_path


def test_a_path_is_an_embeddings_folder_or_holds_some(embeddings):
    assert embeddings_folders([embeddings]) == [embeddings / "one", embeddings / "two"]
    assert embeddings_folders([embeddings / "two"]) == [embeddings / "two"]


def test_embeddings_without_their_manifest_are_not_left_out_silently(embeddings):
    (embeddings / "two" / "manifest.json").unlink()
    for path in (embeddings, embeddings / "two"):
        with pytest.raises(MissingFile, match=r"two/manifest\.json: this file is missing; run `herbray embed`"):
            embeddings_folders([path])


def test_a_folder_without_embeddings_names_the_command(tmp_path):
    with pytest.raises(ValueError, match="no finished embeddings here; run `herbray embed` first"):
        embeddings_folders([tmp_path])
