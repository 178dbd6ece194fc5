import stat
import struct
import warnings
import zipfile

import pytest

from herbray.data.sources.darwin_core.archive import container
from herbray.data.sources.darwin_core.archive.container import open_container


def put(path, *members):
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        warnings.simplefilter("ignore")  # duplicate names
        for member, data in members:
            file.writestr(member, data)
    return path


def link(name):
    member = zipfile.ZipInfo(name)
    member.create_system, member.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    return member


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([("../evil.txt", "x")], "a path out of the archive"),
        ([("a/../../evil.txt", "x")], "a path out of the archive"),
        ([("/etc/evil.txt", "x")], "an absolute path"),
        ([("C:/evil.txt", "x")], "an absolute path"),
        ([("a\\evil.txt", "x")], "a backslash"),
        ([(link("occurrence.txt"), "/etc/passwd")], "a link"),
        ([("meta.xml", "x"), ("meta.xml", "y")], "twice"),
    ],
)
def test_an_unsafe_archive_is_refused_by_the_name_of_the_member(tmp_path, members, message):
    path = put(tmp_path / "a.zip", *members)
    with pytest.raises(ValueError, match=message):
        open_container(path)
    assert [each.name for each in tmp_path.rglob("*")] == ["a.zip"]


def test_an_encrypted_member_is_refused(tmp_path):
    data = bytearray(put(tmp_path / "a.zip", ("a.txt", "x")).read_bytes())
    entry = data.index(b"PK\x01\x02")
    data[entry + 8] |= 1
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises(ValueError, match="encrypted"):
        open_container(tmp_path / "a.zip")


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(container, "FREE_BYTES", 1000)
    box = open_container(put(tmp_path / "a.zip", ("bomb.txt", b"0" * 10**6), ("fine.txt", bytes(range(256)) * 3)))
    assert b"".join(box.read_chunks("fine.txt")) == bytes(range(256)) * 3
    with pytest.raises(ValueError, match=r"bomb\.txt would unpack to 1,000,000 bytes.*zip bomb"):
        box.open("bomb.txt")


def test_many_members_share_one_budget(tmp_path, monkeypatch):
    monkeypatch.setattr(container, "FREE_BYTES", 250_000)
    monkeypatch.setattr(container, "MAX_RATIO", 2)
    box = open_container(put(tmp_path / "a.zip", *((f"{n}.txt", b"0" * 100_000) for n in range(4))))
    for name in ("0.txt", "1.txt", "0.txt"):
        box.open(name)
    with pytest.raises(ValueError, match="zip bomb"):
        box.open("2.txt")


def test_a_member_that_lies_about_its_size_is_refused(tmp_path):
    data = bytearray(put(tmp_path / "a.zip", ("a.txt", b"0" * 5000)).read_bytes())
    entry = data.index(b"PK\x01\x02")
    struct.pack_into("<I", data, entry + 24, 100)  # the size after unpacking
    (tmp_path / "a.zip").write_bytes(data)
    with open_container(tmp_path / "a.zip") as box, pytest.raises(ValueError, match=r"a\.txt cannot be read"):
        list(box.read_chunks("a.txt"))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"PK\x03\x04 and no more", "not a complete zip file"),
        (b"\x1f\x8b\x08", "a gzip file; unpack it"),
        (b"", "empty"),
    ],
)
def test_other_files_are_refused_by_their_content(tmp_path, data, message):
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises(ValueError, match=message):
        open_container(tmp_path / "a.zip")


def test_a_missing_archive_says_so(tmp_path):
    with pytest.raises(ValueError, match="no such archive"):
        open_container(tmp_path / "a.zip")


def test_a_link_out_of_an_unpacked_archive_is_not_followed(tmp_path):
    (tmp_path / "secret.txt").write_text("x")
    (tmp_path / "archive").mkdir()
    (tmp_path / "archive/occurrence.txt").symlink_to(tmp_path / "secret.txt")
    with open_container(tmp_path / "archive") as box, pytest.raises(ValueError, match="leads out of the folder"):
        list(box.read_chunks("occurrence.txt"))


def test_images_are_found_by_path_or_by_a_name_that_is_unique(tmp_path):
    path = put(tmp_path / "a.zip", ("d/meta.xml", "x"), ("d/img/a.jpg", "x"), ("d/img/b.jpg", "x"), ("d/b.jpg", "x"))
    with open_container(path) as box:
        assert box.find("META.xml") == "d/meta.xml"
        assert box.locate_image("d/", "img/a.jpg") == f"{path}!/d/img/a.jpg"
        assert box.locate_image("d/", "a.jpg") == f"{path}!/d/img/a.jpg"
        assert box.locate_image("d/", "b.jpg") == f"{path}!/d/b.jpg"
        assert box.locate_image("", "b.jpg") is None
        assert box.locate_image("d/", "../d/b.jpg") is None
