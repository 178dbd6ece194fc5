import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from herbray import schema, storage, tables
from herbray.flow.cluster.placement import Node
from herbray.flow.evaluation import job as evaluate_module
from herbray.flow.evaluation.job import Evaluate, distinct_encoders, evaluate, left_out_file
from herbray.flow.evaluation.outcomes import comparisons_file, outcomes_folder
from herbray.tasks import LeftOut
from herbray.tasks.identify import Identify
from herbray.tasks.methods.bootstrap import Bootstrap
from herbray.tasks.retrieval import Retrieval
from herbray.tasks.transfer import Transfer

GENERA = ("Alba", "Borea", "Cirra")


def write_folder(folder, model, seed, separation, **facts):
    """Embeddings of the same 240 specimens, as `herbray embed` leaves them; clouds `separation` apart."""
    generator = np.random.default_rng(seed)
    for split in ("herbarium", "random"):
        rows = []
        for number in range(120):
            genus = GENERA[number % 3]
            row = dict.fromkeys(schema.SPECIMEN.names)
            row |= {"specimen_id": f"{split}/{number:03d}", "genus": genus, "split": split, "order": "Ales"}
            row["embedding"] = (separation * np.eye(8)[number % 3] + generator.standard_normal(8)).astype(np.float32)
            rows.append(row)
        path = folder / f"split={split}" / "part-00000.parquet"
        tables.write(path, pa.Table.from_pylist(rows, schema=schema.embedding_schema(8)))
    storage.write_note(folder / "manifest.json", note_of(folder.name, model, seed, **facts))


def note_of(name, model, seed, **facts):
    note = {"name": name, "model": model, "init": "random", "seed": seed, "uri": "", "version": "none"}
    note |= {"encoder": f"encoder of {name}", "objective": model, "kind": f"kind of {model}", "start_kind": "drawn"}
    return note | {"shards": "5a5a", "settings": {}} | facts


@pytest.fixture(scope="module")
def encoders(tmp_path_factory):
    root = tmp_path_factory.mktemp("embeddings")
    for model, separation in (("triplet", 3.0), ("autoencoder", 0.8)):
        for seed in (1, 2):
            write_folder(root / f"{model}-{seed}", model, seed, separation)
    return root


def spec_of(encoders, out, **changes):
    tasks = (Identify(splits=("random",), ranks=("genus",)), Transfer(ranks=("genus",)))
    tasks += (Retrieval(splits=("random",), ranks=("genus",)),)
    return Evaluate(embeddings=(encoders,), tasks=tasks, out=out, bootstrap=Bootstrap(resamples=200), **changes)


def value(results, model, seed, task, metric):
    rows = [
        r for r in results.to_pylist() if (r["model"], r["seed"], r["task"], r["metric"]) == (model, seed, task, metric)
    ]
    return np.mean([row["value"] for row in rows])


def test_results_bear_intervals_around_their_figures(cluster, encoders, tmp_path):
    results = evaluate(spec_of(encoders, tmp_path / "results.parquet"))
    assert results.schema == schema.RESULT
    assert pq.read_table(tmp_path / "results.parquet").equals(results)
    for model in ("triplet", "autoencoder"):
        for seed in (1, 2):
            for task, metric in (("identify", "accuracy"), ("transfer", "accuracy"), ("retrieval", "map_at_r")):
                middle = value(results, model, seed, task, metric)
                low, high = (value(results, model, seed, task, f"{metric}_{end}") for end in ("low", "high"))
                assert low <= middle <= high
                assert low < high


def test_outcomes_give_back_the_figures_and_comparisons_the_better_encoder(cluster, encoders, tmp_path):
    out = tmp_path / "results.parquet"
    results = evaluate(spec_of(encoders, out))
    files = sorted(outcomes_folder(out).glob("*.parquet"))
    assert len(files) == 4
    for file in files:
        table = pq.read_table(file)
        assert table.schema == schema.OUTCOME
        rows = table.filter((pa.compute.field("task") == "retrieval") & (pa.compute.field("metric") == "map_at_r"))
        row = rows.slice(0, 1).to_pylist()[0]
        mean = np.average(rows["value"].to_numpy(), weights=rows["weight"].to_numpy())
        assert mean == pytest.approx(value(results, row["model"], row["seed"], "retrieval", "map_at_r"))
    compared = pq.read_table(comparisons_file(out))
    assert compared.schema == schema.COMPARISON
    rows = compared.to_pylist()
    assert {(row["model_a"], row["model_b"], row["seeds_a"], row["seeds_b"]) for row in rows} == {
        ("autoencoder", "triplet", 2, 2)
    }
    assert {row["better"] for row in rows if row["metric"] in ("accuracy", "map_at_r")} == {"b"}
    assert {(row["task"], row["specimens"]) for row in rows} == {
        ("identify", 120),
        ("transfer", 120),
        ("retrieval", 120),
    }


def test_the_same_seed_gives_the_same_files_and_another_gives_others(cluster, encoders, tmp_path):
    tables = []
    for name, seed in (("one", 5), ("two", 5), ("three", 6)):
        out = tmp_path / name / "results.parquet"
        results = evaluate(spec_of(encoders, out, seed=seed))
        outcomes = [file.read_bytes() for file in sorted(outcomes_folder(out).glob("*.parquet"))]
        tables.append((results, pq.read_table(comparisons_file(out)), outcomes))
    assert all(a.equals(b) for a, b in zip(tables[0][:2], tables[1][:2], strict=True))
    assert tables[0][2] == tables[1][2]
    assert not any(a.equals(b) for a, b in zip(tables[0][:2], tables[2][:2], strict=True))


def test_files_of_an_earlier_evaluation_go_and_one_encoder_is_compared_with_none(cluster, encoders, tmp_path):
    out = tmp_path / "results.parquet"
    evaluate(spec_of(encoders, out))
    evaluate(spec_of(encoders / "triplet-1", out))
    assert [file.name for file in outcomes_folder(out).iterdir()] == ["000-triplet-1.parquet"]
    assert pq.read_table(comparisons_file(out)).num_rows == 0


def test_a_task_that_the_data_cannot_serve_is_reported_by_its_own_message(cluster, encoders, tmp_path):
    spec = spec_of(encoders, tmp_path / "results.parquet").model_copy(
        update={"tasks": (Identify(splits=("species",)),)}
    )
    with pytest.raises(ValueError, match=r"^task identify: species, listed in `splits`, cannot be scored"):
        evaluate(spec)
    assert not spec.out.exists()


def test_what_the_labels_do_not_allow_is_said_once_and_stands_beside_the_results(cluster, encoders, tmp_path, capsys):
    """Before: UnscorableError, "no embeddings of split 'species'", and then at rank family."""
    spec = spec_of(encoders, tmp_path / "results.parquet").model_copy(update={"tasks": (Identify(), Retrieval())})
    results = evaluate(spec)
    assert {(row["split"], row["level"]) for row in results.to_pylist()} == {
        ("herbarium", "genus"),
        ("random", "genus"),
    }
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("left out")]
    assert told == [
        "left out  identify, retrieval on species: no specimen is in this split",
        "left out  identify, retrieval at family on herbarium, random: no specimen has a name at this rank",
        "left out  identify at order on herbarium, random: "
        "1 of 1 classes have the 5 gatherings that 5 folds need, but at least two must",
        "left out  retrieval at order on herbarium, random: "
        "all sheets have the same name, so that every sheet is a match",
    ]
    table = tables.read(left_out_file(spec.out), "", schema.LEFT_OUT)
    assert table.num_rows == 10
    evaluate(spec, announced=[LeftOut(**row) for row in table.to_pylist()])
    assert "left out" not in capsys.readouterr().err


def test_two_kinds_of_one_name_and_seed_are_distinguished_and_compared(cluster, tmp_path):
    """Trainings of one objective that differ in a setting alone: no label is needed to keep them apart."""
    for name, kind, separation in (("a-v1", "slow", 3.0), ("a-v2", "fast", 0.8)):
        write_folder(tmp_path / "e" / name, "triplet", 1, separation, kind=kind)
    out = tmp_path / "results.parquet"
    results = evaluate(spec_of(tmp_path / "e", out))
    assert {(row["kind"], row["encoder"]) for row in results.to_pylist()} == {
        ("slow", "encoder of a-v1"),
        ("fast", "encoder of a-v2"),
    }
    rows = pq.read_table(comparisons_file(out)).to_pylist()
    told = {(row["kind_a"], row["kind_b"], *row["encoders_a"], *row["encoders_b"]) for row in rows}
    assert told == {("fast", "slow", "encoder of a-v2", "encoder of a-v1")}
    assert {row["better"] for row in rows if row["metric"] in ("accuracy", "map_at_r")} == {"b"}


def test_runs_of_one_kind_are_counted_by_their_encoders_whatever_their_seeds(cluster, tmp_path):
    """Two trainings of the same settings and seed by other code are two runs of one kind."""
    for name, model, separation in (("a-v1", "triplet", 3.0), ("a-v2", "triplet", 2.9), ("b", "classifier", 0.8)):
        write_folder(tmp_path / "e" / name, model, 1, separation)
    out = tmp_path / "results.parquet"
    evaluate(spec_of(tmp_path / "e", out))
    rows = pq.read_table(comparisons_file(out)).to_pylist()
    assert {(row["model_b"], row["seeds_b"], tuple(row["encoders_b"])) for row in rows} == {
        ("triplet", 2, ("encoder of a-v1", "encoder of a-v2"))
    }


def test_an_encoder_that_is_there_twice_counts_once(cluster, tmp_path, caplog):
    """The same training, registered twice: not two witnesses."""
    for name in ("a-v1", "a-v2"):
        write_folder(tmp_path / "e" / name, "triplet", 1, 3.0, encoder="0a1b")
    out = tmp_path / "results.parquet"
    results = evaluate(spec_of(tmp_path / "e", out))
    alone = evaluate(spec_of(tmp_path / "e" / "a-v1", tmp_path / "alone.parquet"))
    assert results.equals(alone)
    assert [file.name for file in outcomes_folder(out).iterdir()] == ["000-a-v1.parquet"]
    assert "a-v2 holds the same encoder as a-v1: the results contain it once" in caplog.text


def test_an_encoder_on_two_sets_of_shards_is_evaluated_separately(tmp_path):
    for name, shards in (("old", "5a5a"), ("new", "beef")):
        write_folder(tmp_path / name, "triplet", 1, 3.0, encoder="0a1b", shards=shards)
    told = r"new and .*old hold embeddings of different shards .* `herbray evaluate embeddings=\S+old out=old"
    with pytest.raises(ValueError, match=told):
        distinct_encoders([tmp_path / "new", tmp_path / "old"])


def test_embeddings_of_an_earlier_version_are_refused_with_a_remedy(encoders, tmp_path):
    write_folder(tmp_path / "a-v1", "triplet", 1, 3.0)
    note = {"model": "triplet", "init": "random", "seed": 1, "shards": "5a5a", "uri": "", "version": "none"}
    (tmp_path / "a-v1" / "manifest.json").write_text(json.dumps(note))
    told = r"a-v1/manifest.json: written by an earlier version.*run `herbray embed` with out=.*or remove the folder"
    with pytest.raises(ValueError, match=told):
        evaluate(spec_of(tmp_path / "a-v1", tmp_path / "results.parquet"))


def test_an_interrupted_evaluation_resumes_and_gives_the_same_results(cluster, encoders, tmp_path, monkeypatch):
    spec, whole = (spec_of(encoders, tmp_path / name / "results.parquet") for name in ("broken", "whole"))
    ends, asked = evaluate_module._measure_on_ray, []

    def until(most):
        def some(spec, pieces, left):
            asked.append(len(left))
            for number, ended in enumerate(ends(spec, pieces, left)):
                if number == most:
                    raise KeyboardInterrupt
                yield ended

        monkeypatch.setattr(evaluate_module, "_measure_on_ray", some)

    for most in (2, 3):
        until(most)
        with pytest.raises(KeyboardInterrupt):
            evaluate(spec)
    assert not spec.out.exists()
    unfinished = tmp_path / "broken" / "results-unfinished"
    assert len(list(unfinished.glob("*.parquet"))) == 10
    damaged = min(unfinished.glob("*-outcomes.parquet"))
    damaged.write_bytes(damaged.read_bytes()[:50])
    until(99)
    results = evaluate(spec)
    total = asked[0]
    assert asked == [total, total - 2, total - 4]  # of five that were kept one is damaged
    assert not unfinished.exists()
    assert results.equals(evaluate(whole))
    for name in ("results", "results-comparisons"):
        one, two = (pq.read_table(each.out.with_name(f"{name}.parquet")) for each in (spec, whole))
        assert one.equals(two)
    assert asked[-1] == total

    until(1)
    with pytest.raises(KeyboardInterrupt):
        evaluate(spec)
    until(99)
    evaluate(spec.model_copy(update={"seed": spec.seed + 1}))  # other settings: nothing is taken over
    assert asked[-1] == total


def test_tasks_that_no_node_has_memory_for_are_refused_with_figure_and_way_out(tmp_path):
    nodes = [Node(4, memory=2 * 2**30), Node(8, memory=6 * 2**30)]
    small = evaluate_module._Part(tmp_path, Identify(solver="sklearn"), "random", 7 << 30)
    large = evaluate_module._Part(tmp_path, Retrieval(), "random", 5 << 30)
    with pytest.raises(ValueError, match=r"identify on random needs about 7\.0 GiB.*6\.0 GiB: set solver=torch"):
        evaluate_module._refuse_too_large([small, large], nodes)
    evaluate_module._refuse_too_large([large], nodes)
