from herbray.data import catalogue
from herbray.data.catalogue import Catalogue
from herbray.data.sources.folder import Folder
from herbray.flow.review.job import Review
from herbray.flow.review.one_encoder import review_encoder


def test_the_sheets_of_an_encoder_are_listed_and_shown(collection, tmp_path):
    sheets = tmp_path / "sheets"
    sheets.mkdir()
    (sheets / "labels.csv").write_text("specimen_id,image,genus\n@000,0.jpg,Alba\n", encoding="utf-8")
    (sheets / "0.jpg").write_bytes(b"never opened")
    catalogue.build(Catalogue(source=Folder(path=sheets), out=tmp_path / "names"))
    folders = (collection / "shards", tmp_path / "names", tmp_path / "out")
    told = review_encoder(Review(most=5, serve=True), collection / "embeddings", *folders)
    assert told.startswith(f"{tmp_path}/out/review/index.html: 5 sheets to review")
    assert (tmp_path / "out" / "suspects" / "suspects.csv").is_file()
