import importlib
import io
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import yaml
from rich.console import Console

from herbray import config
from herbray.benchmark.contests.halfearth import flora, sheets
from herbray.benchmark.contests.halfearth.contest import CASE, HalfEarthRun, InTime
from herbray.benchmark.contests.halfearth.process import run_stage
from herbray.benchmark.harness.race import Case, Contender, Measured, race
from herbray.benchmark.harness.record import make_record
from herbray.benchmark.harness.table import print_record
from herbray.data import catalogue
from herbray.data.catalogue import Catalogue
from herbray.data.imaging import images
from herbray.data.sources import HalfEarth
from herbray.data.splitting.splits import Splits, split
from herbray.verbs import VERBS


def test_the_flora_has_the_challenges_counts_and_its_splits_the_studys_shares():
    grown = flora.grow(0.02, 89)
    sizes = np.bincount(grown.species)
    assert len(grown.species) == round(0.02 * flora.SHEETS)
    assert (len(sizes), len(grown.family)) == (round(0.02 * flora.SPECIES), round(0.02 * flora.GENERA))
    assert sizes.min() >= 3
    assert 200 < sizes.max() < 1000
    capped = sum(flora.TABLE_2.values()) / flora.SHEETS
    assert np.minimum(sizes, 25).sum() / len(grown.species) == pytest.approx(capped, rel=0.05)


def test_the_catalogue_reads_its_metadata_and_wrong_names_keep_the_true_ones(tmp_path):
    grown = flora.grow(0.0005, 3)
    flora.write_metadata(grown, tmp_path / "archive" / "metadata.json")
    spec = Catalogue(source=HalfEarth(path=tmp_path / "archive"), out=tmp_path / "catalogue")
    manifest = catalogue.build(spec)
    assert manifest["counts"]["ok"] == len(grown.species)
    assert manifest["names"]["genus"] == len(np.unique(grown.genus))
    assert manifest["names"]["order"] == len(np.unique(grown.order))
    assert set(manifest["institutions"]) == {"NY", "BPBM", "NL", "BRI", "AK"}
    sheets.plant_wrong_names(tmp_path / "catalogue", 5)
    table = catalogue.read(tmp_path / "catalogue")
    wrong = sum(a != b for a, b in zip(*(table[n].to_pylist() for n in ("species", "true_species")), strict=True))
    assert 0.003 < wrong / len(table) < 0.06
    assert all(
        species.startswith(genus)
        for species, genus in zip(*(table[n].to_pylist() for n in ("species", "genus")), strict=True)
    )
    assert len(set(split(table, Splits(), 89).to_pylist())) == 6


def test_a_sheet_takes_a_kilobyte_and_its_genus_can_be_learned_but_not_read_off(tmp_path):
    names = [f"Planta{'ab'[number % 2]} x" for number in range(120)]
    paths = [str(tmp_path / f"{number}.jpg") for number in range(120)]
    assert sheets.draw_sheets(pa.table({"image": paths, "true_species": names}), 1) == 120
    jpegs = [Path(path).read_bytes() for path in paths]
    assert 500 < np.mean([len(data) for data in jpegs]) < 2000
    pixels = images.decode_squares(jpegs, 40, None).reshape(120, -1).astype(float)
    alike = np.corrcoef(pixels)
    same = np.arange(120)[:, None] % 2 == np.arange(120) % 2
    np.fill_diagonal(alike, np.nan)
    assert np.nanmean(alike[same]) - np.nanmean(alike[~same]) > 0.1  # learnable
    assert np.nanmean(alike[same]) < 0.6  # each sheet is mostly itself


def test_a_stage_is_measured_from_outside(tmp_path):
    code = "import time; kept = bytearray(b'x' * (80 << 20)); end = time.process_time() + 0.5\n"
    code += "while time.process_time() < end: pass\n"
    code += f"open({str(tmp_path / 'made')!r}, 'wb').write(bytes(3_000_000))"
    done = run_stage([sys.executable, "-S", "-c", code], 7, tmp_path, tmp_path / "log")
    assert done.units == 7
    assert 0.3 < done.cpu_s < 5
    assert 80 < done.peak_mib < 160
    assert list(done.processes) == ["job"]
    assert done.written_mb == pytest.approx(3, abs=0.01)
    with pytest.raises(RuntimeError, match=r"exit code 3\nbroken"):
        run_stage([sys.executable, "-c", "print('broken'); raise SystemExit(3)"], 7, tmp_path, tmp_path / "log")


def test_stages_run_once_in_their_order_and_print_their_processes():
    seen = []

    def stage(name):
        done = Measured(9, 3.0, 2.0, 70.0, {"job": 60.0, "raylet": 9.0}, 1.5)
        return Contender(name, lambda: seen.append(name) or done)

    case = Case(CASE, "specimens", [stage(name) for name in "abc"], measures="stages")
    laps = race(case, 1)
    assert seen == ["a", "b", "c"] == [lap.contender for lap in laps]
    text = io.StringIO()
    print_record(make_record(HalfEarthRun(labels_only=True), [case], laps), Console(file=text, width=200))
    assert "job 60, raylet 9" in text.getvalue()
    assert InTime(0.5).judge(laps).met is None
    assert InTime(1).judge(laps).met


def test_every_stage_has_a_job_that_its_verb_accepts(tmp_path):
    """The job files are those that `herbray VERB` would read; an unknown setting would end the run after hours."""
    (case,) = HalfEarthRun(scale=0.0004, folder=tmp_path).cases(tmp_path / "unused")
    assert len(case.contenders) == 13
    for name in (contender.name for contender in case.contenders):
        job = tmp_path / f"{name}.yaml"
        if not job.exists():
            continue
        verb = {"shards": "shard"}.get(name, name.partition(" ")[0])
        module, kind, _, _ = VERBS[verb]
        config.parse(getattr(importlib.import_module(module), kind), yaml.safe_load(job.read_text()))
