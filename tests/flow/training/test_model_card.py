import pyarrow as pa

from herbray import config, tables
from herbray.flow.training.model_card import model_card
from herbray.flow.training.specification import Train
from herbray.flow.training.training_data import TrainingData
from herbray.tracking import read_section

HOSTILE = "Ann\n# Not a heading\n<script>alert(1)</script> ```` <img src=x onerror=alert(1)> [x](javascript:y)"


def card(citation="", **settings):
    manifest = {"splits": {"train": 1234}, "rank": "genus", "citation": citation, "fingerprint": "0a1b"}
    spec = config.parse(Train, {"shards": "/home/ann/shards", "out": "/home/ann/out", "store": "/home/ann"} | settings)
    return model_card(spec, TrainingData(pa.table({}), manifest, ["Rubus", "Rosa"], None, [], None), {"val_knn": 0.5})


def write_shards(folder, licences, splits=("train", "random"), step=1):
    for split in splits:
        path = folder / f"split={split}"
        ids = [f"{split}-{number}" for number in range(len(licences))][::step]
        table = pa.table({"specimen_id": ids, "license": pa.array(licences, pa.string())})
        tables.write(path / "part-0.parquet", table)
    return str(folder)


def test_the_card_says_what_the_encoder_is_and_not_where_it_was_made():
    text = card()
    assert "1,234 specimens of 2 names (rank: genus)" in text
    assert r"| val\_knn | 0.5 |" in text
    assert "no citation was given" in text
    assert "seed: 89" in text
    assert "/home/ann" not in text
    assert 'load_encoder("models:/herbray-triplet@champion")' in read_section(text, "Use")


def test_sections_wait_for_what_is_learned_later():
    text = card()
    assert read_section(text, "Promotion") == "Not considered yet."
    assert "Not evaluated yet" in read_section(text, "Results")
    assert text.index("## Results") < text.index("## Settings")


def test_licences_of_the_training_specimens_are_counted(tmp_path):
    licences = ["CC0", "CC BY 4.0", "CC0", None, HOSTILE]
    text = read_section(card(shards=write_shards(tmp_path, licences)), "Data")
    assert "CC0 2; CC BY 4.0 1; none given 1; Ann" in text
    assert len(text.splitlines()) == 4
    assert "<" not in text


def test_many_licences_are_summed(tmp_path):
    text = card(shards=write_shards(tmp_path, [f"licence {number}" for number in range(12)]))
    assert "; 4 others 4\n" in text


def test_the_fingerprint_of_splits_is_of_who_is_where(tmp_path):
    def print_of(name, licences, **more):
        text = card(shards=write_shards(tmp_path / name, licences, **more))
        return text.split("Fingerprints: splits ")[1].split(",")[0]

    one = print_of("one", ["CC0"] * 4)
    assert len(one) == 16
    assert print_of("other order", ["x"] * 4, step=-1) == one
    assert print_of("fewer", ["CC0"] * 3) != one
    assert print_of("elsewhere", ["CC0"] * 4, splits=("train", "species")) != one


def test_what_came_with_the_data_stays_one_line_of_text():
    text = card(HOSTILE)
    assert "<" not in text.replace("herbray-<objective>", "")
    headings = [line for line in text.splitlines() if line.startswith("#")]
    assert headings == ["# herbray-triplet"] + [
        f"## {name}" for name in ("Data", "Use", "Promotion", "Results", "Training", "Settings")
    ]
    assert "[x](" not in text.replace(r"\[x\](", "")


def test_secrets_in_settings_do_not_travel():
    assert "s3cret" not in card(experiment="https://ann:s3cret@host/x?token=s3cret")
