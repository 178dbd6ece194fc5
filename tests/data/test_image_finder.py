import unicodedata

import pytest

from herbray.data.sources.base import GuardedFolder
from herbray.data.sources.image_finder import ImageFinder

NFD = unicodedata.normalize("NFD", "Isoëtes")
NFC = unicodedata.normalize("NFC", "Isoëtes")


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "sheets"
    for name in (f"{NFD}/K1.JPG", "sub/K2.jpg", "sub/K3.tif", "sub/K3.jpg", "K4.jpg", "k4.jpg", "K5.jpg", "a b.jpg"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    (root / "back\\slash.jpg").touch()
    return root


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("K5.jpg", "K5.jpg"),
        ("./sub//K2.jpg", "sub/K2.jpg"),
        ("sub\\K2.jpg", "sub/K2.jpg"),
        (".\\sub\\K2.JPG", "sub/K2.jpg"),
        ("back\\slash.jpg", "back\\slash.jpg"),
        (f"{NFC}/K1.jpg", f"{NFD}/K1.JPG"),
        ("K5.JPG", "K5.jpg"),
        ("K5", "K5.jpg"),
        ("sub/K2", "sub/K2.jpg"),
        ("K2", "sub/K2.jpg"),
        ("K2.jpg", "sub/K2.jpg"),
        ("k1", f"{NFD}/K1.JPG"),
        ("{root}/sub/K2.jpg", "sub/K2.jpg"),
        ("{root}/sub/k2.JPG", "sub/K2.jpg"),
        ("file://{root}/a%20b.jpg", "a b.jpg"),
        ("file://localhost{root}/K5.jpg", "K5.jpg"),
        ("K4.jpg", "K4.jpg"),
    ],
)
def test_files_are_found_as_people_write_their_names(folder, name, file):
    found = ImageFinder(folder).find(name.replace("{root}", str(folder)))
    assert (found.path, found.exists) == (str(folder / file), True)


@pytest.mark.parametrize(
    ("name", "reason", "detail"),
    [
        ("K4", "ambiguous", "2 files fit this name (K4.jpg, k4.jpg); write one of them"),
        ("K3", "ambiguous", "2 files fit this name (sub/K3.jpg, sub/K3.tif)"),
        ("sub/K3", "ambiguous", "2 files fit"),
        ("K4.JPG", "ambiguous", "2 files fit"),
        ("ftp://herbarium.example/K1.jpg", "address", "download the images into the folder"),
        ("s3://bucket/K1.jpg", "address", "download"),
        ("file://server/share/K1.jpg", "outside", "must stay inside"),
        ("C:\\scans\\K1.jpg", "outside", "a path of another computer"),
        ("\\\\server\\scans\\K1.jpg", "outside", "a path of another computer"),
        ("..\\K1.jpg", "outside", "must stay inside"),
        ("sub/../K5.jpg", "outside", "must stay inside"),
        ("{root}/../K5.jpg", "outside", "must stay inside"),
        ("{root}", "outside", "must stay inside"),
        ("/etc/passwd", "outside", "must stay inside"),
        ("file:///etc/passwd", "outside", "must stay inside"),
        ("sub/", "outside", "must stay inside"),
        ("K5\0.jpg", "outside", "must stay inside"),
    ],
)
def test_names_that_lead_out_or_fit_several_files_are_refused(folder, name, reason, detail):
    found = ImageFinder(folder).find(name.replace("{root}", str(folder)))
    assert (found.path, found.exists, found.reason) == (None, False, reason)
    assert detail in found.detail


def test_a_name_that_fits_nothing_keeps_its_path(folder):
    for name in ("K9.jpg", "sub/K9", "nowhere/K9.jpg", "{root}/K9.jpg"):
        found = ImageFinder(folder).find(name.replace("{root}", str(folder)))
        assert (found.path, found.exists) == (str(folder / name.removeprefix("{root}/")), False)
    (folder / "K6").mkdir()  # a folder is no image
    assert ImageFinder(folder).find("K6").exists is False
    assert ImageFinder(folder / "absent").find("K1").path == str(folder / "absent/K1")


def test_addresses_on_the_web_stay_as_they_are(folder):
    for name in ("https://herbarium.example/K1.jpg", "HTTP://herbarium.example/../K1.jpg"):
        assert ImageFinder(folder).find(name) == (name, False, "", "")


def test_links_lead_out_only_where_the_settings_allow_it(folder, tmp_path):
    store = tmp_path / "store/ab"
    store.mkdir(parents=True)
    (store / "annexed").touch()
    (tmp_path / "secret.jpg").touch()
    (folder / "K7.jpg").symlink_to("../store/ab/annexed")
    (folder / "data").symlink_to(store)
    (folder / "K8.jpg").symlink_to("../secret.jpg")
    names = ("K7.jpg", "k7.JPG", "K7", "data/annexed")
    for name in names:
        assert ImageFinder(folder).find(name).reason == "outside", name
        found = ImageFinder(folder, [tmp_path / "store"]).find(name)
        assert found.exists, name
        assert found.path == str(folder / ("data/annexed" if "/" in name else "K7.jpg"))
    for name in ("K8.jpg", "k8"):
        assert ImageFinder(folder, [tmp_path / "store"]).find(name).reason == "outside"
    assert GuardedFolder(folder).locate("K7.jpg") is None


def test_a_folder_named_through_a_link_knows_its_own_absolute_paths(folder, tmp_path):
    (tmp_path / "link").symlink_to(folder)
    for name in (f"{tmp_path}/link/K5.jpg", f"{folder}/K5.jpg"):
        assert ImageFinder(tmp_path / "link").find(name).path == str(folder / "K5.jpg")
