"""What a job says, and how it ends, when its bucket cannot be used: at its start, in one line."""

import re

import pytest

from herbray import cli
from herbray.exit_codes import ExitCode
from herbray.lock import lock_output
from herbray.storage import claim, path_of, room, store
from herbray.storage.address import cache_folder

JOB = ("source={name: synthetic, path: sheets, sheets: 4, size: 32, workers: 1}", "out=catalogue")


def end(capsys, *words, root="s3://sheets/bad"):
    """The exit code and the last line of a job."""
    store.filesystem.cache_clear()
    code = cli.run("catalogue", None, [f"root={root}", *(words or JOB)])
    return code, (capsys.readouterr().err.strip().splitlines() or [""])[-1]


@pytest.mark.parametrize(
    ("fault", "code", "line"),
    [
        (("403 AccessDenied", "PUT"), ExitCode.BAD_INPUT, "s3://sheets/bad/catalogue: cannot be written: .*refuses"),
        (("403 AccessDenied",), ExitCode.BAD_INPUT, "s3://sheets: the store refuses .*: check the credentials"),
        (("301 PermanentRedirect",), ExitCode.BAD_INPUT, "in another region .*set AWS_REGION"),
        (
            ("503 SlowDown",),
            ExitCode.UNREACHABLE,
            "s3://sheets: the store does not answer .*run the same command again",
        ),
    ],
)
def test_a_store_that_refuses_or_is_silent(bucket, capsys, fault, code, line):
    with bucket.out_of_order(*fault):
        found, last = end(capsys)
    assert found == code
    assert re.search(line, last), last


def test_a_bucket_that_is_absent_and_a_store_that_is_not_there(bucket, capsys, monkeypatch):
    assert end(capsys, root="s3://absent/x") == (
        ExitCode.BAD_INPUT,
        "herbray catalogue: s3://absent: no such bucket: create it, or correct the address",
    )
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    code, line = end(capsys)
    assert code == ExitCode.UNREACHABLE
    assert "s3://sheets: the store does not answer" in line


def test_two_jobs_on_one_output_and_a_full_cache(bucket, capsys, monkeypatch):
    monkeypatch.setattr(claim, "RENEW_S", 0.3)
    monkeypatch.setattr(claim, "_POLL_S", 0.1)
    with lock_output(path_of("s3://sheets/bad/catalogue"), "shard"):
        code, line = end(capsys)
    assert code == ExitCode.BAD_INPUT
    assert "s3://sheets/bad/catalogue is being written by `herbray shard`" in line
    store.put_bytes(claim.Place("s3", "sheets", "bad/full/labels.csv"), b"image,genus\na.jpg,Acer\n")
    monkeypatch.setattr(room, "_MARGIN", 10**18)
    code, line = end(capsys, "source={name: folder, path: full}", "out=catalogue")
    assert code == ExitCode.BAD_INPUT
    assert f"{cache_folder()}: cannot be written (the disk of local copies is full: free up space or set" in line
