import io

import numpy as np
import pytest
from PIL import Image

from herbray import config
from herbray.benchmark.contests.ingest import peers
from herbray.benchmark.contests.ingest.contest import Ingest
from herbray.benchmark.contests.ingest.data import draw_sheets
from herbray.benchmark.harness.race import race


def tiny(**values):
    sizes = [{"width": 210, "height": 300, "images": 2}]
    return config.parse(Ingest, {"side": 48, "sizes": sizes, "files": 3, "workers": 1, "rounds": 1, **values})


@pytest.mark.slow
def test_every_contender_of_every_case_handles_every_image(tmp_path, capsys):
    spec = tiny()
    laps = {}
    for case in spec.cases(tmp_path):
        laps[case.name] = race(case, spec.rounds)
    assert {name: {lap.contender: lap.units for lap in found} for name, found in laps.items()} == {
        "210×300 px": {"herbray": 2, "Pillow": 2, "Pillow draft, tuned": 2, "torchvision": 2},
        "files of 210×300 px to shards": {"herbray": 3, "Pillow pool": 3},
    }
    assert "bytes per pixel" in capsys.readouterr().err
    every = [lap for found in laps.values() for lap in found]
    assert all(promise.judge(every).met is not None for promise in spec.targets())


def test_large_sheets_promise_more():
    sizes = [{"width": 2400, "height": 3600, "images": 1}]
    promised = [(promise.peer, promise.at_least) for promise in tiny(sizes=sizes, files=0).targets()]
    assert promised == [("Pillow", 7.0), ("Pillow draft, tuned", 0.9)]


def test_an_unlike_image_stops_the_race(tmp_path, monkeypatch):
    monkeypatch.setattr("herbray.data.imaging.images._DECODE_MARGIN", 0.5)  # decoded far too small
    case = next(iter(tiny(sizes=[{"width": 210, "height": 300, "images": 1}], files=0).cases(tmp_path)))
    with pytest.raises(ValueError, match="46 needed"):
        race(case, 1)


@pytest.mark.slow
def test_sheets_are_grainy_and_follow_from_the_seed(tmp_path):
    first, second = (list(draw_sheets(tmp_path / name, 300, 420, 2, 3.0, 5)) for name in "ab")
    assert first == second
    assert first[0] != first[1]
    with Image.open(io.BytesIO(first[0])) as opened:
        assert opened.size == (300, 420)
    assert len(first[0]) > 1.1 * len(next(iter(draw_sheets(tmp_path / "a", 300, 420, 2, 0.0, 5))))


def test_the_peers_make_the_same_picture(tmp_path):
    data = next(iter(draw_sheets(tmp_path, 420, 600, 1, 3.0, 5)))
    reference = np.asarray(peers.plain(data, 96))
    assert peers.psnr(reference, reference) == float("inf")
    assert peers.psnr(np.asarray(peers.draft(data, 96)), reference) > 40
    assert peers.psnr(peers.torchvision(data, 96), reference) > 30
