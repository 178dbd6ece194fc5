import pyarrow as pa

from herbray import config
from herbray.flow.card import model_card
from herbray.flow.material import Material, Train

HOSTILE = "Ann\n# Not a heading\n<script>alert(1)</script> ```` <img src=x onerror=alert(1)>"


def card(citation="", **settings):
    manifest = {"splits": {"train": 1234}, "citation": citation, "fingerprint": "0a1b"}
    spec = config.parse(Train, {"shards": "/home/ann/shards", "out": "/home/ann/out", "store": "/home/ann"} | settings)
    return model_card(spec, Material(pa.table({}), manifest, ["Rubus", "Rosa"], [], []), {"val_knn": 0.5})


def test_the_card_tells_what_it_is_and_not_where_it_was_made():
    text = card()
    assert "1,234 specimens of 2 genera" in text
    assert "| val_knn | 0.5 |" in text
    assert "no citation was given" in text
    assert "seed: 89" in text
    assert "/home/ann" not in text


def test_what_came_with_the_data_stays_one_line_of_text():
    text = card(HOSTILE)
    assert "<" not in text.replace("herbray-<objective>", "")
    assert [line for line in text.splitlines() if line.startswith("#")] == ["# herbray-triplet"]


def test_secrets_in_settings_do_not_travel():
    assert "s3cret" not in card(experiment="https://ann:s3cret@host/x?token=s3cret")
