import resource
import subprocess
import sys

import pytest

from herbray import schema
from herbray.verdicts.files import read_verdicts
from herbray.verdicts.saving import append_verdicts, check_appendable, file_to_append


def row(number, **other):
    base = dict.fromkeys(schema.VERDICT.names, "x") | {"id": f"{number:06d}", "at": "2026-03-01T09:30:00Z"}
    return base | {"rank": "genus", "verdict": "wrong"} | other


def test_formulas_line_breaks_and_other_scripts_come_back_and_no_cell_is_a_formula(tmp_path):
    file = file_to_append(tmp_path / "verdicts")
    check_appendable(file)
    rows = [row(1, given="=cmd|' /C calc'!A0", note='two\nlines, "quoted"'), row(2, given="وردة", note="x" * 10_000)]
    append_verdicts(file, rows[:1])
    append_verdicts(file, rows[1:])
    assert read_verdicts(tmp_path / "verdicts").to_pylist() == rows
    assert ",'=cmd|" in file.read_text(encoding="utf-8-sig")


APPEND_MANY = """
import sys, pathlib
from herbray.schema import VERDICT
from herbray.verdicts.saving import append_verdicts
first = int(sys.argv[2])
for number in range(first, first + 20):
    row = dict.fromkeys(VERDICT.names, "n" * 3000)
    row |= {"id": f"{number:06d}", "at": "", "rank": "genus", "verdict": "wrong"}
    append_verdicts(pathlib.Path(sys.argv[1]), [row])
"""


def test_two_processes_that_append_at_once_lose_nothing(tmp_path):
    file = tmp_path / "verdicts.csv"
    both = [subprocess.Popen([sys.executable, "-c", APPEND_MANY, file, first]) for first in ("0", "1000")]
    assert [each.wait(60) for each in both] == [0, 0]
    assert sorted(read_verdicts(file)["id"].to_pylist()) == [f"{n:06d}" for n in (*range(20), *range(1000, 1020))]


def test_a_full_disk_is_an_error_and_leaves_the_file_whole(tmp_path):
    file = tmp_path / "verdicts.csv"
    append_verdicts(file, [row(1)])
    before, limits = file.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 50, limits[1]))  # a row fits only in part
    try:
        with pytest.raises(OSError, match="too large"):
            append_verdicts(file, [row(2)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert file.read_bytes() == before
    append_verdicts(file, [row(2)])
    assert read_verdicts(file)["id"].to_pylist() == ["000001", "000002"]


def test_a_file_without_its_last_line_break_is_continued_and_a_changed_one_is_refused(tmp_path):
    file = tmp_path / "saved.csv"
    append_verdicts(file, [row(1)])
    file.write_bytes(file.read_bytes().rstrip())
    check_appendable(file)
    append_verdicts(file, [row(2)])
    assert len(read_verdicts(file)) == 2
    file.write_bytes(file.read_bytes().replace(b",", b";"))
    with pytest.raises(ValueError, match=r"saved\.csv: another program has changed its columns.*rename the file"):
        check_appendable(file)
    assert len(read_verdicts(file)) == 2
