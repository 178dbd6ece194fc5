import re
import zipfile

from export_cases import make_batch

from herbray.exports.formats import darwin_core


def open_archive(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name).decode() for name in archive.namelist()}


def rows_of(text):
    header, *lines = (line.split("\t") for line in text.removesuffix("\n").split("\n"))
    return [dict(zip(header, line, strict=True)) for line in lines]


def test_the_extension_lists_the_name_on_file_and_every_opinion(batch, tmp_path):
    written = darwin_core.write(batch, tmp_path)
    files = open_archive(written.path)
    assert sorted(files) == ["eml.xml", "identification.txt", "meta.xml", "occurrence.txt"]
    core, extension = rows_of(files["occurrence.txt"]), rows_of(files["identification.txt"])
    ids = [row["occurrenceID"] for row in core]
    assert ids == ["s1", "s3", "s4", "s5", "s7", "urn:catalog:K:8", "s2", "s9"]
    assert {row["occurrenceID"] for row in extension} == set(ids)
    assert len(extension) == written.rows == 8 + 6 + 3
    assert {row["basisOfRecord"] for row in core} == {"PreservedSpecimen"}
    first = [row for row in extension if row["occurrenceID"] == "s1"]
    assert [(row["scientificName"], row["taxonRank"], row["identifiedBy"]) for row in first] == [
        ("Alba maxima", "species", ""),
        ("Borea", "genus", "herbray 0.1.0, encoder herbray-triplet v3"),
    ]
    assert (first[0]["genus"], first[0]["specificEpithet"]) == ("Alba", "maxima")
    assert len({row["identificationID"] for row in extension}) == len(extension)
    assert (tmp_path / "darwin-core-identification.txt").read_text(encoding="utf-8") == files["identification.txt"]


def test_the_descriptor_counts_the_columns_as_the_files_have_them(batch, tmp_path):
    files = open_archive(darwin_core.write(batch, tmp_path).path)
    core, extension = re.split(r"<extension", files["meta.xml"])
    for part, name, start in ((core, "occurrence.txt", 0), (extension, "identification.txt", 1)):
        fields = re.findall(r'<field index="(\d+)" term="[^"]*/([A-Za-z]+)"/>', part)
        header = files[name].split("\n")[0].split("\t")
        assert [(int(at), term) for at, term in fields] == list(enumerate(header))[start:]
        assert f"<location>{name}</location>" in part


def test_the_occurrence_has_the_current_name_if_reviewers_gave_one(tmp_path):
    for current, name in ((False, "Alba minor"), (True, "Borea")):
        files = open_archive(darwin_core.write(make_batch(current=current), tmp_path).path)
        (row,) = (row for row in rows_of(files["occurrence.txt"]) if row["occurrenceID"] == "s2")
        assert row["scientificName"] == name
    (kept,) = (row for row in rows_of(files["occurrence.txt"]) if row["occurrenceID"] == "s9")
    assert kept["scientificName"] == "Alba maxima"  # judged right at the rank of the genus: the species stays


def test_only_addresses_leave_and_the_same_batch_gives_the_same_bytes(batch, tmp_path):
    written = darwin_core.write(batch, tmp_path / "a")
    rows = rows_of(open_archive(written.path)["occurrence.txt"])
    assert {row["associatedMedia"] for row in rows} == {"", "https://example.org/2.jpg"}  # no path of this machine
    assert {row["references"] for row in rows if row["occurrenceID"] == "s3"} == {""}
    again = darwin_core.write(make_batch(), tmp_path / "b")
    assert again.path.read_bytes() == written.path.read_bytes()
    assert '<title xml:lang="en">Sheets &lt;of&gt; &amp; NY</title>' in darwin_core.write_eml(batch)
