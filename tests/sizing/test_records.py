import json
from pathlib import Path

import pytest

from herbray.benchmark.contests.embed import EmbedRate
from herbray.benchmark.contests.ingest.contest import Ingest
from herbray.benchmark.contests.scale import Scale
from herbray.benchmark.contests.step import FROM_MEMORY, FROM_SHARDS, Step
from herbray.benchmark.harness.race import Case, Contender, Lap
from herbray.benchmark.harness.record import Machine, make_record, write_record
from herbray.benchmark.harness.spec import BenchmarkSpec
from herbray.sizing.rates import Rate, RateFinder, scale_decode, write_rates
from herbray.sizing.records import SHIPPED, device_of, rates_of_record, read_rates

PAGE = Path(__file__).parents[2] / "docs" / "benchmark.md"
ABOUT = {"machine": "a processor", "when": "2026-11-30", "source": "a test"}
H200 = Machine(cpu="Xeon", cores=16, memory_gib=126, gpu="1 × NVIDIA H200", system="Linux")


def record(spec: BenchmarkSpec, case: str, rates: dict[str, tuple[float, float]], machine: Machine | None = None):
    """A record whose contenders have these units a second and CPU ms a unit."""
    cases = [Case(case, "images", [Contender(name, lambda: 1) for name in rates])]
    laps = [
        Lap(case, name, n, 100, 100 / rate, 100 * cpu_ms / 1000, 0.5)
        for n in (1, 2, 3)
        for name, (rate, cpu_ms) in rates.items()
    ]
    done = make_record(spec, cases, laps)
    return done.model_copy(update={"machine": machine} if machine else {})


def works(rates):
    return {rate.work: rate for rate in rates}


def test_a_step_on_a_gpu_gives_its_rates_and_that_of_decoding():
    done = record(
        Step(objectives=("triplet",)),
        "triplet, 512 images of 256 px a step",
        {FROM_SHARDS: (8000, 1.0), FROM_MEMORY: (12_000, 0.2)},
        H200,
    )
    found = works(rates_of_record(done))
    assert found["step"].per_s == pytest.approx(12_000)
    fed = found["fed step"]
    assert (fed.device, fed.arch, fed.objective, fed.px, fed.cores) == ("NVIDIA H200", "resnet18", "triplet", 256, 16)
    assert found["decode"].per_core_s == pytest.approx(1 / 0.0008)
    assert device_of(done) == "NVIDIA H200"


def test_an_embedding_on_cores_tells_how_many_worked():
    spec = EmbedRate(sizes=(64,), threads=1)
    done = record(spec, "64 px", {"herbray": (400, 2.5), "herbray: decoded tensors, forward alone": (420, 2.4)})
    done = done.model_copy(update={"machine": H200.model_copy(update={"gpu": None})})
    found = works(rates_of_record(done))
    assert set(found) == {"forward", "fed forward"}  # decoding shares its cores with the network
    assert (found["fed forward"].cores, found["fed forward"].device, found["forward"].px) == (1, "cpu", 64)


def test_sheets_to_shards_and_labels_to_tables():
    done = record(Ingest(workers=2), "files of 700×1000 px to shards", {"herbray": (349, 5.6), "Pillow pool": (9, 9)})
    (rate,) = rates_of_record(done)
    assert (rate.work, rate.sheet_px, rate.px, rate.cores) == ("shard", 700_000, 256, 2)
    assert rate.per_core_s == pytest.approx(349 / 2)
    names = {"herbray: 4,000": (26_000, 1), "herbray: 400,000": (100_000, 1)}
    (rate,) = rates_of_record(record(Scale(), "catalogue from a table of labels", names))
    assert (rate.work, rate.per_s) == ("catalogue", pytest.approx(100_000))


def test_files_are_read_in_order_and_others_are_refused(tmp_path):
    mine = Rate(work="catalogue", per_s=7, **ABOUT)
    write_rates([mine], tmp_path / "rates.json")
    folder = tmp_path / "benchmark"
    folder.mkdir()
    write_record(
        record(Ingest(workers=2), "files of 700×1000 px to shards", {"herbray": (9, 9)}), folder / "ingest.json"
    )
    found = read_rates([tmp_path / "rates.json", tmp_path / "absent.json", folder])
    assert found[0] == mine
    assert found[1].work == "shard"
    assert len(found) > 8  # those that ship follow
    (tmp_path / "other.json").write_text(json.dumps({"rows": 3}))
    with pytest.raises(ValueError, match=r"other\.json: not a record of a benchmark"):
        read_rates([tmp_path / "other.json"])


def test_the_first_rate_that_fits_is_used_and_a_missing_one_named():
    rates = [
        Rate(work="shard", per_s=per_s, sheet_px=px, px=256, **ABOUT) for per_s, px in ((9, 700_000), (5, 24_000_000))
    ]
    finder = RateFinder(rates)
    assert finder.find("shard", sheet_px=800_000, px=288) == rates[0]
    assert finder.find("shard", sheet_px=24_000_000, px=256) == rates[1]
    assert finder.find("shard", "measure it", sheet_px=1_000_000, px=256) is None
    assert finder.find("start", name="embed") is None
    assert list(finder.missing) == ["measure it"]
    assert list(finder.used) == rates


def test_decoding_scales_with_pixels():
    rate = Rate(work="decode", per_s=2000, cores=2, px=256, **ABOUT)
    assert scale_decode(rate, 256, 1.0) == 1000
    assert scale_decode(rate, 128, 1.0) == 4000
    assert scale_decode(rate, 256, 1.5) == pytest.approx(1000 / 1.5)


def test_every_rate_that_ships_stands_on_the_page_of_its_measurement():
    page = PAGE.read_text(encoding="utf-8")
    copied = [rate for rate in read_rates([]) if rate.source.startswith("docs/benchmark.md") and rate.work != "decode"]
    assert len(copied) >= 9
    for rate in copied:
        section = page.partition(f"\n## {rate.source.rpartition(' ')[2]}\n")[2].partition("\n## ")[0]
        _, _, machine = section.partition(f"cores of {rate.machine}")
        figure = f"{1 / rate.per_s:.1f} (" if rate.work == "start" else f"{rate.per_s:,.0f} ("
        assert figure in machine, rate
        assert rate.when in machine.partition("\n")[0]
    assert all(path.suffix == ".json" for path in SHIPPED.iterdir())
    assert {rate.device for rate in read_rates([])} == {"cpu", "NVIDIA H200"}
