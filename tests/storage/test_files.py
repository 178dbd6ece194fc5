import json

import pytest

from herbray.storage import DamagedFile, MissingFile, read_note, replace_file, write_note, write_text


def test_a_file_is_replaced_completely_and_folders_are_created(tmp_path):
    path = tmp_path / "a" / "b.txt"
    write_text(path, "one")
    with replace_file(path) as temporary:
        temporary.write_text("two")
        assert path.read_text() == "one"
    assert path.read_text() == "two"
    assert [each.name for each in path.parent.iterdir()] == ["b.txt"]


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "b.txt"
    write_text(path, "one")

    def interrupted():
        with replace_file(path) as temporary:
            temporary.write_text("tw")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == "one"
    assert [each.name for each in tmp_path.iterdir()] == ["b.txt"]


def test_a_note_comes_back_as_it_was(tmp_path):
    tree = {"rows": 3, "names": ["Rubus", "Isoëtes"], "part": {"value": 0.1, "nothing": None}}
    write_note(tmp_path / "note.json", tree)
    assert read_note(tmp_path / "note.json", "") == tree


def read_or_damage(path):
    try:
        return read_note(path, "way out")
    except DamagedFile as error:
        return error


def test_every_flipped_bit_of_a_note_is_noticed_or_changes_nothing(tmp_path):
    path, tree = tmp_path / "note.json", {"side": 96, "fingerprint": "5a5a", "splits": {"train": 10}}
    write_note(path, tree)
    data = path.read_bytes()
    for place in range(len(data)):
        for bit in range(8):
            path.write_bytes(data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :])
            found = read_or_damage(path)
            assert found == tree or str(found).startswith(f"{path}: ")  # white space between keys may change


@pytest.mark.parametrize(
    ("text", "damage"),
    [
        ("", "damaged, it is not JSON"),
        ("[" * 100_000, "damaged, it is not JSON"),
        ("[]", "damaged, it is not a JSON object"),
        (json.dumps({"side": 96}), "written by an earlier version, without a digest"),
        (json.dumps({"side": 96, "sha256": "0" * 64}), "damaged, it was changed after it was written"),
    ],
)
def test_other_files_are_refused_by_name_with_a_remedy(tmp_path, text, damage):
    path = tmp_path / "note.json"
    path.write_text(text)
    with pytest.raises(DamagedFile) as caught:
        read_note(path, "run it again")
    assert str(caught.value) == f"{path}: {damage}; run it again"


def test_a_missing_note_is_reported_as_missing(tmp_path):
    with pytest.raises(MissingFile, match=r"note\.json: this file is missing; run it again"):
        read_note(tmp_path / "note.json", "run it again")
