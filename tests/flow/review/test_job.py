import json
import re

import pyarrow.parquet as pq
import pytest

from herbray import schema, storage, tables
from herbray.flow.evaluation.suspects import Suspects, suspects
from herbray.flow.review.job import review
from herbray.verdicts.saving import append_verdicts

WRONG = {"@004", "@013", "@025", "@036", "@047", "@058"}


def read_script(path):
    """The JSON that a script hands to the page."""
    text = path.read_text(encoding="utf-8")
    return json.loads(re.sub(r"^Review\.\w+\((\d+, )?|\);\n$", "", text))


def verdict(number, reviewer, sheet, given, said, name=None):
    row = dict.fromkeys(schema.VERDICT.names) | {"id": f"v{number}", "at": f"2026-03-01T09:30:{number:02d}.000Z"}
    return row | {
        "reviewer": reviewer,
        "specimen_id": sheet,
        "rank": "genus",
        "given": given,
        "verdict": said,
        "name": name,
    }


def test_the_page_holds_the_wrong_names_first_with_sheets_of_both_names(settings):
    told = review(settings)
    data, evidence = read_script(settings.out / "data.js"), read_script(settings.out / "evidence" / "00000.js")
    assert told.startswith(f"{settings.out}/index.html: 150 sheets to review, ")
    assert {item["id"] for item in data["items"][:6]} == WRONG
    assert len(evidence) == data["chunk"] == 100
    for item, about in zip(data["items"][:6], evidence[:6], strict=True):
        given, proposed = about["similar"][:2]
        assert (given["name"], proposed["name"]) == (item["given"], item["suggested"])
        assert len(given["sheets"]) == len(proposed["sheets"]) == 4
        assert all(sheet["genus"] == given["name"] for sheet in given["sheets"])
        distances = [sheet["distance"] for sheet in proposed["sheets"]]
        assert distances == sorted(distances)
        assert distances[0] < given["sheets"][0]["distance"]
        own = about["facts"].get("gathering", "none")
        assert own not in [sheet.get("gathering") for sheet in given["sheets"] + proposed["sheets"]]
        assert about["why"].startswith(
            ("It is filed as ", "Sheets of its gathering have several names. It is filed as ")
        )
        assert f"are filed as {item['suggested']}" in about["why"]
        assert (settings.out / item["picture"]).read_bytes()[:2] == b"\xff\xd8"
    shown = {sheet["picture"] for about in evidence for each in about["similar"] for sheet in each["sheets"]}
    assert all((settings.out / picture).is_file() for picture in shown)
    assert {item["collector"] for item in data["items"]} == {"Vale", None}
    assert "there is no verdict yet" in data["shares"][0]


def test_nothing_of_the_metadata_can_leave_its_string_or_name_a_file(settings):
    review(settings)
    for path in settings.out.rglob("*"):
        assert re.fullmatch(r"[a-z0-9]+(\.(js|css|html|jpg))?", path.name)
        if path.suffix == ".js" and path.parent.name == "evidence":
            assert b"<" not in path.read_bytes()
    page = (settings.out / "index.html").read_text(encoding="utf-8")
    assert "default-src 'none'" in page
    assert "http" not in page.replace("http-equiv", "")


def test_verdicts_are_shown_settled_or_told_and_score_the_list(settings, collection):
    genus = {
        row["specimen_id"]: row["genus"]
        for row in pq.read_table(collection / "suspects" / "suspects.parquet")
        .rename_columns({"given": "genus"})
        .to_pylist()
    }
    rows = [
        verdict(1, "Ada", "@004", genus["@004"], "wrong", "Borea"),
        verdict(2, "Ada", "@013", genus["@013"], "wrong"),
        verdict(3, "Ben", "@013", genus["@013"], "right"),
        verdict(4, "Ada", "@000", genus["@000"], "right"),
        verdict(5, "Ada", "@001", "Oldname", "wrong", genus["@001"]),
        verdict(6, "Ada", "gone", "Alba", "wrong"),
    ]
    settings.verdicts.mkdir()
    append_verdicts(settings.verdicts / "a.csv", rows)
    told = review(settings.model_copy(update={"most": 6}))
    data = read_script(settings.out / "data.js")
    assert [row["id"] for row in data["verdicts"]] == [f"v{n}" for n in range(1, 7)]
    assert "1 verdict of sheets that are not in these embeddings" in told
    assert "1 verdict of names that the sheets no longer have: settled" in told
    assert "reviewers disagree on 1 names, such as that of '@013'" in told
    last = data["items"][-1]
    assert (len(data["items"]), last["id"], last["given"], last["suggested"]) == (7, "@001", "Oldname", None)
    assert last["now"] == genus["@001"]
    assert data["shares"][0].startswith("Places 1 to 6: 1 of 1 checked names are wrong (100 %, interval 21–100 %)")
    listed = suspects(
        Suspects(embeddings=settings.embeddings, split="random", out=settings.out / "s", verdicts=settings.verdicts)
    )
    assert "precision_at_10: 1.000 (0.207 to 1.000), 1 judged names of 1 gatherings" in str(listed)
    assert "average_precision: 1.000" in str(listed)
    assert (
        (settings.out / "s" / "scores.csv").read_text(encoding="utf-8-sig").startswith("metric,judged,gatherings,value")
    )


def test_what_does_not_belong_together_is_refused(settings, collection, tmp_path):
    listed = pq.read_table(collection / "suspects" / "suspects.parquet")
    tables.write(tmp_path / "suspects.parquet", listed, {"encoder": "e2", "shards": "shards"})
    with pytest.raises(
        ValueError, match=r"embeddings of another encoder \(e2, the embeddings are of e1\); run `herbray suspects`"
    ):
        review(settings.model_copy(update={"suspects": (tmp_path,)}))
    with pytest.raises(ValueError, match="this file is missing; run `herbray suspects` with out="):
        review(settings.model_copy(update={"suspects": (tmp_path / "none",)}))
    storage.write_note(tmp_path / "shards" / "manifest.json", {"fingerprint": "other"})
    with pytest.raises(ValueError, match="not the shards of these embeddings"):
        review(settings.model_copy(update={"shards": tmp_path / "shards"}))


def test_pictures_that_are_no_longer_shown_are_removed(settings):
    review(settings)
    before = set(settings.out.rglob("*.jpg"))
    review(settings.model_copy(update={"most": 2, "neighbours": 1}))
    assert len(before) == 150
    assert len(set(settings.out.rglob("*.jpg"))) <= 8
