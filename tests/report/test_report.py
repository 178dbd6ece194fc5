import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
from dataclasses import asdict, replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from herbray import schema
from herbray.report import EncoderNote, ReportData, Sheet, write_report
from herbray.report.names import Kind
from herbray.report.text import clean

SECTIONS = "summary data encoders identification discrimination mislabels map quarantine settings".split()
DOI = "https://doi.org/10.3389/fpls.2021.806407"
PAIRS = ("Syzygium–Eugenia", "Syzygium–Dendrobium")
FAMILY = {"Syzygium": "Myrtaceae", "Eugenia": "Myrtaceae", "Dendrobium": "Orchidaceae"}
ORDER = {"Myrtaceae": "Myrtales", "Orchidaceae": "Asparagales"}
SKILL = {"triplet": 0.8, "autoencoder": 0.7, "classifier": 0.6, "untrained": 0.3}


class Page(HTMLParser):
    """Tags, attributes and text of a report, read as a browser would."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.shown, self.style = [], [], ""
        self._inside = ""
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)
        self.text = " ".join(" ".join(self.shown).split())

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._inside = tag

    def handle_endtag(self, tag):
        self._inside = ""

    def handle_data(self, data):
        if self._inside == "style":
            self.style += data
        else:
            self.shown.append(data)

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]


def identity_of(model, init="imagenet", seed=1):
    return schema.Identity(model, model, model, f"{model}-{init}", init, f"untrained-{init}", seed)


def kind_of(model):
    return asdict(Kind.from_row(asdict(identity_of(model))))


def result(model, task, split, level, fold, metric, value):
    place = {"task": task, "split": split, "level": level, "fold": fold, "metric": metric, "value": value}
    return asdict(identity_of(model)) | place


def spread(model, task, split, level, metric, mean, half=0.01, **kind):
    """Three folds around a mean; the sample standard deviation is `half`."""
    return [
        result(model, task, split, level, fold, metric, mean + step * half, **kind)
        for fold, step in enumerate((-1, 0, 1))
    ]


def results_of(skill=SKILL):
    rows = []
    for model, mean in skill.items():
        for split in schema.TEST_SPLITS:
            for rank in ("genus", "family", "order"):
                rows.append(result(model, "identify", split, rank, -1, "rows", 120.0))
                for metric in ("accuracy", "precision", "recall", "f1", "balanced_accuracy", "auroc"):
                    rows += spread(model, "identify", split, rank, metric, mean)
                rows += spread(model, "identify", split, rank, "majority", 0.125)
        for pair in PAIRS:
            for metric in ("accuracy", "precision", "recall", "f1", "balanced_accuracy", "auroc"):
                rows += spread(model, "discriminate", "herbarium+random", pair, metric, mean)
            told = {"tpr": mean, "fpr": 0.1, "precision": mean, "oof_tpr": 0.5, "knn_tpr": 0.777}
            for metric, value in told.items():
                rows += spread(model, "mislabel", "herbarium+random", pair, metric, value)
            for end, value in (("low", 0.123), ("high", 0.987)):
                rows.append(result(model, "mislabel", "herbarium+random", pair, -1, f"tpr_{end}", value))
    return pa.Table.from_pylist(rows, schema=schema.RESULT)


def embeddings_of(seed, count=90, dim=8):
    generator = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        genus = tuple(FAMILY)[number % 3]
        family = FAMILY[genus]
        features = generator.normal(size=dim) + 4 * (family == "Orchidaceae")
        rows.append(
            {
                "specimen_id": f"NY{number:05d}",
                "order": ORDER[family],
                "family": family,
                "genus": genus,
                "species": f"{genus} alba",
                "institution": ("NY", "K")[number % 2],
                "split": ("train", "herbarium", "random")[number // 10 % 3],
                "embedding": features.astype(np.float32),
            }
        )
    return pa.Table.from_pylist(rows, schema=schema.embedding_schema(dim))


def jpeg(number, size=(300, 450)):
    image = Image.new("RGB", size, (236, 228, 208))
    ImageDraw.Draw(image).line([(150, 430), (120 + 10 * number, 40)], fill=(60, 90, 40), width=9)
    out = io.BytesIO()
    image.save(out, "JPEG", comment=b"a note inside the file")
    return out.getvalue()


def report_data(**changes):
    quarantined = [
        {"specimen_id": f"Q{n}", "image": f"/store/in/sheets/{n}.jpg", "stage": "shard", "reason": "truncated"}
        | {"detail": "the file ends early"}
        for n in range(60)
    ]
    curves = [
        kind_of(model) | {"epoch": float(epoch), "metric": metric, "value": 1.0 / epoch}
        for model in SKILL
        for epoch in (1, 2, 3)
        for metric in ("train_loss", "val_loss", "val_knn")
    ]
    data = ReportData(
        title="Herbarium of the tests",
        results=results_of(),
        manifest={
            "counts": {"input": 1234, "ok": 1170, "quarantined": 60, "skipped": 4},
            "splits": {"train": 700, "herbarium": 300, "random": 170},
            "rank": "genus",
            "labels": {"train": 3, "herbarium": 3, "random": 3},
            "source": {"name": "synthetic"},
            "citation": "Drawn by code",
            "side": 256,
            "fingerprint": "c0ffee",
            "seed": 89,
        },
        encoders=[EncoderNote(identity_of(m), f"herbray-{m} v1", 2.0, 4096, 61.0, 0.5, 0.25, "ab12") for m in SKILL],
        curves=pa.Table.from_pylist(curves),
        embeddings={model: embeddings_of(seed) for seed, model in enumerate(SKILL)},
        sheets=[Sheet(jpeg(n), f"NY{n}", "Rubus", "Rubus caesius", "Rosaceae", "NY", "train") for n in range(3)],
        quarantine=pa.Table.from_pylist(quarantined, schema=schema.QUARANTINE),
        settings="seed: 89\n",
        created="2025-01-01 12:00 UTC",
        version="0.1.0",
        projection="pca",
    )
    return replace(data, **changes)


def lean(**changes):
    """Few figures, hence quick."""
    rows = spread("triplet", "identify", "random", "genus", "accuracy", 0.7)
    return report_data(**{"results": only(rows), "curves": None, "embeddings": {}, "sheets": []} | changes)


def page_of(folder, data):
    write_report(data, folder / "report.html")
    return Page(folder / "report.html")


def only(rows):
    return pa.Table.from_pylist(rows, schema=schema.RESULT)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    return page_of(tmp_path_factory.mktemp("report"), report_data())


@pytest.mark.slow
def test_every_section_is_there_and_the_contents_lead_to_it(page):
    assert [attrs["id"] for attrs in page.all("section")] == SECTIONS
    links = {attrs["href"] for attrs in page.all("a") if attrs["href"].startswith("#")}
    assert links == {f"#{name}" for name in SECTIONS}


@pytest.mark.slow
def test_every_figure_is_drawn_and_has_an_alternative_text(page):
    assert len(page.all("svg")) == 5
    told = [attrs["aria-label"] for attrs in page.all("div") if attrs.get("role") == "img"]
    assert len(told) == 5
    assert all(len(text) > 20 for text in told)
    assert all(attrs["alt"] for attrs in page.all("img"))


def test_nothing_is_fetched_and_nothing_runs(page):
    assert not {tag for tag, _ in page.tags} & {"script", "iframe", "object", "embed", "base", "form"}
    for tag, attrs in page.tags:
        for name, value in attrs.items():
            assert not name.startswith("on")
            if name in ("src", "href", "xlink:href"):
                assert value.startswith(("#", "data:")) or (tag, value) == ("a", DOI)
    assert "@import" not in page.style
    assert set(re.findall(r"url\((.)", page.source)) <= {"#"}
    policy = next(attrs["content"] for attrs in page.all("meta") if "http-equiv" in attrs)
    assert policy.startswith("default-src 'none'")


def test_ids_are_unique_and_references_lead_to_one(page):
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    targets = re.findall(r'(?:href="#|url\(#)([^")]+)', page.source)
    assert len(targets) > 100
    assert set(targets) <= set(ids)


def test_the_paper_is_cited_and_no_score_of_it_is_quoted(page):
    assert "10.3389/fpls.2021.806407" in page.text
    for sentence in re.findall(r"The paper reports:[^.]*", page.text):
        assert not re.search(r"\d", sentence.split("Here")[0])


def test_figures_of_the_results_are_found_again(page):
    assert "80.0% ± 1.0" in page.text
    assert "0.800 ± 0.010" in page.text
    assert "12.5%" in page.text  # the majority floor
    for number in ("1,234", "1,170", "700", "59.8%"):
        assert number in page.text


KIN = ("same family", "different orders")


def test_similar_pair_comes_before_distinct_one(page):
    similar, distinct = (page.text.index(f"{pair} ({kin})") for pair, kin in zip(PAIRS, KIN, strict=True))
    assert similar < distinct


@pytest.mark.slow
def test_models_come_in_the_papers_order(tmp_path):
    skill = dict.fromkeys(("untrained", "zeta", "classifier", "triplet", "autoencoder"), 0.5)
    page = page_of(tmp_path, lean(results=results_of(skill)))
    assert page.text.count("triplet") > 9
    table = page.text[page.text.index("best mean of each group is in bold") :]
    names = re.findall(r"triplet|autoencoder|classifier|zeta|untrained", table)[:5]
    assert names == ["triplet", "autoencoder", "classifier", "zeta", "untrained"]


def test_an_encoder_leads_if_intervals_do_not_overlap(page):
    assert "Triplet leads clearly in all 3 comparisons." in page.text
    assert "clearly better than the best frozen encoder in all 3 comparisons" in page.text
    assert "triplet > autoencoder > classifier" in page.text
    assert "Best accuracy: 80.0%; best frozen encoder: 30.0%." in page.text


def test_probes_that_did_not_converge_are_named(tmp_path):
    rows = spread("triplet", "identify", "random", "genus", "accuracy", 0.7)
    rows.append(result("triplet", "identify", "random", "genus", 0, "converged", 0.0))
    assert "Some probes stopped before they converged: triplet." in page_of(tmp_path, lean(results=only(rows))).text


def test_results_of_an_unknown_task_are_shown(tmp_path):
    rows = spread("triplet", "retrieve", "random", "genus", "map_at_r", 0.42)
    page = page_of(tmp_path, lean(results=only(rows)))
    assert "Further results" in page.text
    assert "map_at_r" in page.text
    assert "0.420 ± 0.010" in page.text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"curves": None}, "No learning curve was recorded."),
        ({"curves": pa.table({"kind": [], "epoch": [], "metric": [], "value": []})}, "No learning curve"),
        ({"quarantine": schema.QUARANTINE.empty_table()}, "the quarantine is empty"),
        ({"sheets": []}, "No example sheets were provided."),
        ({"embeddings": {}}, "No embeddings were provided."),
        ({"embeddings": {"triplet": schema.embedding_schema(8).empty_table()}}, "No embeddings were provided."),
        ({"encoders": []}, "No encoders were provided."),
        ({"manifest": {}}, "The manifest contains no splits."),
        ({"settings": ""}, "No settings were recorded."),
        ({"results": schema.RESULT.empty_table()}, "This task has no results."),
    ],
)
def test_a_missing_part_is_replaced_by_a_sentence(tmp_path, changes, sentence):
    page = page_of(tmp_path, lean(**changes))
    assert sentence in page.text
    assert [attrs["id"] for attrs in page.all("section")] == SECTIONS


def test_every_part_may_be_missing_at_once(tmp_path):
    nothing = ReportData(
        "", schema.RESULT.empty_table(), {}, [], None, {}, [], schema.QUARANTINE.empty_table(), "", "", ""
    )
    write_report(nothing, tmp_path / "report.html")
    page = Page(tmp_path / "report.html")
    assert [attrs["id"] for attrs in page.all("section")] == SECTIONS
    assert not page.all("svg")


def test_parts_left_out_are_listed(tmp_path):
    line = "identify at family on random: 1 of 1 <b>classes</b>"
    page = page_of(tmp_path, lean(left_out=[line, "split herbarium: all sheets are of one institution, K"]))
    assert "Left out The labels in this data set do not allow the following evaluations" in " ".join(page.text.split())
    assert line in page.text
    assert "all sheets are of one institution, K" in page.text
    assert "Left out" not in page_of(tmp_path, lean()).text


def test_malformed_manifests_are_tolerated(tmp_path):
    odd = {
        "counts": {"input": 3, "by_source": {"a": 1}},
        "splits": [1, 2],
        "labels": 24,
        "rank": "genus",
        "source": "folder",
    }
    page = page_of(tmp_path, lean(manifest=odd))
    assert "source: folder" in page.text
    assert "The manifest contains no splits." in page.text


HOSTILE = (
    """<script>alert(1)</script>"><img src=x onerror=alert(1)>' onload='alert(1)""",
    "$\\frac{1$ {{ 7 * 7 }} {% raw %}\x00\x1b[31m\u202eevil",
)


@pytest.mark.slow
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_stay_text(tmp_path, name):
    who = schema.Identity(*[name] * 6, 1)
    rows = [row | asdict(who) for row in results_of().to_pylist() if row["model"] == "triplet"]
    rows += spread("classifier", "discriminate", "random", f"{name}–{name}", "balanced_accuracy", 0.5)
    rows += spread("classifier", name, name, name, name, 0.5)
    table = embeddings_of(0)
    for column in ("family", "genus", "institution"):
        place = table.schema.get_field_index(column)
        table = table.set_column(place, table.schema.field(column), pa.array([name] * table.num_rows))
    quarantined = [dict.fromkeys(schema.QUARANTINE.names, name)]
    data = report_data(
        title=name,
        results=only(rows),
        manifest={"citation": name, "source": name, "fingerprint": name, "splits": {name: 3}, "counts": {name: 3}},
        encoders=[EncoderNote(who, name, 1.0, 1, 1.0, None, None, name)],
        curves=pa.Table.from_pylist(
            [
                asdict(Kind.from_row(asdict(who))) | {"epoch": epoch, "metric": "train_loss", "value": 1.0 / epoch}
                for epoch in (1.0, 2.0)
            ]
        ),
        embeddings={name: table},
        sheets=[Sheet(jpeg(0), name, name, name, name, name, name)],
        quarantine=pa.Table.from_pylist(quarantined, schema=schema.QUARANTINE),
        settings=name,
        created=name,
        version=name,
    )
    page = page_of(tmp_path, data)
    assert not page.all("script")
    assert all(attrs["src"].startswith("data:") for attrs in page.all("img"))
    assert not [attr for _, attrs in page.tags for attr in attrs if attr.startswith("on")]
    assert clean(name) in page.text
    assert len(page.all("svg")) == 5
    assert [attrs["id"] for attrs in page.all("section") if attrs["id"] in SECTIONS] == SECTIONS


def test_names_in_scripts_without_a_font_are_no_warning(tmp_path):
    rows = spread("紫云英", "identify", "random", "genus", "accuracy", 0.5)
    assert "紫云英" in page_of(tmp_path, lean(results=only(rows))).text


@given(st.text(), st.integers(1, 40))
def test_cleaned_text_is_one_short_printable_line(text, limit):
    shown = clean(text, limit)
    assert len(shown) <= limit
    assert clean(shown, limit) == shown
    assert not re.search(r"[\x00-\x1f\x7f-\x9f‪-‮⁦-⁩]", shown)


@pytest.mark.slow
def test_the_same_data_gives_the_same_bytes_whatever_the_order_of_rows(page, tmp_path):
    data = report_data()
    generator = np.random.default_rng(3)

    def mixed(table):
        return table.take(generator.permutation(table.num_rows))

    again = replace(
        data,
        results=mixed(data.results),
        curves=mixed(data.curves),
        quarantine=mixed(data.quarantine),
        embeddings={model: mixed(table) for model, table in reversed(data.embeddings.items())},
        sheets=list(reversed(data.sheets)),
        encoders=list(reversed(data.encoders)),
    )
    write_report(again, tmp_path / "again.html")
    assert (tmp_path / "again.html").read_text(encoding="utf-8") == page.source


@pytest.mark.slow
def test_another_process_with_another_hash_seed_gives_the_same_bytes(page, tmp_path):
    script = (
        "import runpy, sys, pathlib\n"
        "report_data = runpy.run_path(sys.argv[1])['report_data']\n"
        "from herbray.report import write_report\n"
        "write_report(report_data(), pathlib.Path(sys.argv[2]))\n"
    )
    environment = os.environ | {"PYTHONHASHSEED": "7", "TZ": "Pacific/Auckland", "SOURCE_DATE_EPOCH": "1"}
    (tmp_path / "matplotlibrc").write_text("axes.linewidth: 9\nxtick.labelsize: 30\n")
    command = [sys.executable, "-c", script, str(Path(__file__).resolve()), str(tmp_path / "other.html")]
    subprocess.run(command, check=True, env=environment | {"MATPLOTLIBRC": str(tmp_path)}, timeout=120)
    assert digest(tmp_path / "other.html") == hashlib.sha256(page.source.encode()).hexdigest()


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_failure_leaves_the_earlier_report_in_place(tmp_path):
    path = tmp_path / "report.html"
    path.write_text("earlier")
    with pytest.raises(ValueError, match="the results lack the columns fold, metric"):
        write_report(lean(results=results_of().drop_columns(["fold", "metric"])), path)
    with pytest.raises(ValueError, match="quarantine table lacks the columns reason"):
        write_report(lean(quarantine=lean().quarantine.drop_columns(["reason"])), path)
    assert path.read_text() == "earlier"
    assert list(tmp_path.iterdir()) == [path]


def test_the_folder_is_made_and_nothing_else_is_left(tmp_path):
    write_report(lean(), tmp_path / "new" / "report.html")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["report.html"]


def test_quarantined_rows_are_counted_and_local_paths_are_not_shown(page):
    assert "60 inputs were refused" in page.text
    assert "The first 50 rows" in page.text
    assert "…/sheets/0.jpg" in page.text
    assert "/store/in" not in page.text


@pytest.mark.slow
def test_the_demo_stays_small(tmp_path):
    models = {model: embeddings_of(seed, count=1500, dim=64) for seed, model in enumerate(SKILL)}
    generator = np.random.default_rng(0)
    sheets = []
    for number in range(48):
        image = Image.fromarray(generator.integers(0, 255, (300, 200, 3), dtype=np.uint8))
        out = io.BytesIO()
        image.resize((400, 600), Image.Resampling.BICUBIC).save(out, "JPEG")
        sheets.append(Sheet(out.getvalue(), f"s{number}", "Rubus", None, None, None, "train"))
    write_report(lean(embeddings=models, sheets=sheets), tmp_path / "report.html")
    assert (tmp_path / "report.html").stat().st_size < 3_000_000


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium here")
def test_a_browser_renders_it_without_a_complaint(tmp_path):
    write_report(report_data(title=HOSTILE[0]), tmp_path / "report.html")
    flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    flags += " --disable-component-update --disable-sync --enable-logging=stderr --window-size=1200,2000 --dump-dom"
    browser = shutil.which("chromium")
    done = subprocess.run(
        [browser, *flags.split(), f"--user-data-dir={tmp_path / 'profile'}", (tmp_path / "report.html").as_uri()],
        capture_output=True,
        text=True,
        timeout=180,
        check=True,
    )
    assert "CONSOLE" not in done.stderr
    assert done.stdout.count("<svg") == 5
    assert 'id="settings"' in done.stdout
    assert "<img src=" in done.stdout
    assert "<img src=x" not in done.stdout.replace('"', "")


def test_secrets_in_settings_are_not_shown(tmp_path):
    page = page_of(tmp_path, lean(settings="path: https://ann:s3cret@host/x?token=s3cret\n"))
    assert "https://***@host/x?token=***" in page.text
