import dataclasses
import re
import shutil
import threading

import numpy as np
import pyarrow as pa
import pytest

from herbray import cli, config, schema, storage, tables, tracking
from herbray.flow.embedding_folder import read_note
from herbray.flow.evaluation.comparison import Evidence, PromotionRule, judge_candidate, narrow_task
from herbray.flow.evaluation.promotion import Promote, promote
from herbray.flow.evaluation.write_back import EncoderResults, write_back
from herbray.flow.training.fingerprints import weights_fingerprint
from herbray.model.encoder import EncoderSpec, build_encoder
from herbray.model.encoder_card import EncoderCard, save_encoder
from herbray.tasks import Embeddings, Outcome, to_outcome_table, to_result_table
from herbray.tasks.identify import Identify
from herbray.tasks.methods.bootstrap import Bootstrap, bootstrap_intervals
from herbray.tracking.store import client

GENERA = ("Alba", "Borea", "Cirra")
SHARDS = "5a5a5a5a5a5a"
LUCKY = 45  # of `equal_candidates`: 95 % intervals of the second and the sixth lie above 0
RULE = PromotionRule()


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def uri(store):
    return tracking.tracking_uri(store)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("encoder")
    made = build_encoder(EncoderSpec(arch="mobilenet_v3_small", size=32), 0)  # a small file to register
    facts = {key: getattr(made, key) for key in ("arch", "stem", "normalise", "size", "dim")}
    save_encoder(folder, made, EncoderCard(**facts, classes=("Rubus",), objective="none", init="random", seed=0))
    return folder


@pytest.fixture
def world(store, uri, encoder, tmp_path, request):
    """See `register_versions`."""
    return register_versions(store, uri, encoder, tmp_path, request.node.name)


@pytest.fixture(scope="module")
def unmoved_world(store, uri, encoder, tmp_path_factory):
    """The same for tests in which nothing moves: version 1 is the champion."""
    world = register_versions(store, uri, encoder, tmp_path_factory.mktemp("unmoved"), "unmoved")
    world.promote(1)
    return world


def register_versions(store, uri, encoder, folder, title):
    """A registered model of three versions and their embeddings: version 2 is better than 1, version 3 worse."""
    name = re.sub(r"[^a-z0-9_]", "-", title)[:80]
    for version, separation in ((1, 1.5), (2, 4.0), (3, 0.4)):
        run = tracking.open_run(uri, "promote", f"{name}-{version}", {})
        tracking.register(run, name, encoder, "# A card\n\n## Promotion\n\nNot considered yet.\n")
        embed_as(folder, name, version, separation, weights=weights_fingerprint(encoder))
    return World(store, uri, name, folder, encoder)


def who(version):
    return schema.Identity("triplet", f"encoder{version}", "triplet", f"kind{version}", "random", "drawn", 89)


class World:
    def __init__(self, store, uri, name, folder, encoder):
        self.store, self.uri, self.name, self.folder, self.encoder = store, uri, name, folder, encoder

    def embed(self, folder, version, separation, **more):
        """Embeddings by the weights that are registered, unless others are given."""
        values = {"weights": weights_fingerprint(self.encoder)} | more
        return embed_as(self.folder / folder, self.name, version, separation, **values)

    def promote(self, version=None, **changes):
        values = {"model": self.name, "embeddings": [self.folder], "store": self.store, "version": version}
        return promote(config.parse(Promote, values | changes))

    def tags(self, version):
        return client(self.uri).get_model_version(self.name, str(version)).tags

    def card(self, version):
        return tracking.read_section(tracking.read_card(self.uri, self.name, version), "Promotion")

    @property
    def champion(self):
        return tracking.read_standing(self.uri, self.name).champion


def embed_as(root, name, version, separation, shards=SHARDS, rows=180, weights=None, splits=("random",)):
    """Embeddings of the same specimens as `herbray embed` leaves them: clouds of three genera, `separation` apart."""
    generator = np.random.default_rng(version)
    folder = root / f"v{version}-{shards}"
    for split in splits:
        found = []
        for number in range(rows):
            row = dict.fromkeys(schema.SPECIMEN.names)
            row |= {"specimen_id": f"{split}-{number:03d}", "genus": GENERA[number % 3], "split": split}
            row |= {"family": f"Family {number % 3}", "order": "Ales", "institution": "XYZ"[number % 3]}
            row["embedding"] = (separation * np.eye(8)[number % 3] + generator.standard_normal(8)).astype(np.float32)
            found.append(row)
        path = folder / f"split={split}" / "part-00000.parquet"
        table = pa.Table.from_pylist(found, schema=schema.embedding_schema(8))
        tables.write(path, table)
    identity = who(version) if weights is None else dataclasses.replace(who(version), encoder=weights + "12345678")
    note = dataclasses.asdict(identity) | {"name": folder.name, "shards": shards, "settings": {}}
    note |= {"uri": f"models:/{name}/{version}", "splits": dict.fromkeys(splits, rows)}
    storage.write_note(folder / "manifest.json", note)
    return folder


def test_refused_for_a_worse_candidate_done_for_a_better_and_rolled_back(world):
    first = world.promote(1)
    assert (first.outcome, world.champion) == ("promoted", 1)
    assert "the first champion" in first.reason

    worse = world.promote()  # the alias `candidate` names the latest version
    assert (worse.version, worse.outcome, world.champion) == (3, "kept", 1)
    assert worse.figures["high"] < 0
    assert "lower end not above 0" in worse.reason

    better = world.promote(2)
    assert (better.outcome, world.champion) == ("promoted", 2)
    assert 0 < better.figures["low"] < better.figures["gain"] < better.figures["high"]
    assert better.figures["value"] - better.figures["champion_value"] == pytest.approx(better.figures["gain"])
    assert better.figures["specimens"] == 180

    back = world.promote(to=1)
    assert (back.outcome, world.champion) == ("rolled back", 1)
    assert world.tags(3)["herbray.promotion"].startswith("kept: identify/random/genus/accuracy")
    assert float(world.tags(3)["herbray.promotion.gain"]) == worse.figures["gain"]
    assert world.tags(1)["herbray.promotion.outcome"] == "rolled back"
    assert [line.split(": ")[1] for line in world.card(2).splitlines()] == ["promoted", "no longer champion"]


def test_the_decision_is_a_function_of_the_embeddings_and_the_seed(world):
    world.promote(1)
    one, two = world.promote(3), world.promote(3)
    assert one == two
    other = world.promote(3, seed=90)
    assert other.figures["low"] != one.figures["low"]
    assert len(world.card(3).splitlines()) == 2  # the same job again is the same decision


def test_a_gain_that_may_be_chance_is_no_gain(world):
    """Clouds as far apart as the champion's, other draws: a higher mean does not do."""
    world.promote(1)
    world.embed("chance", 2, 1.6)
    found = world.promote(2, embeddings=[world.folder / "chance", world.folder / f"v1-{SHARDS}"])
    assert found.figures["low"] < 0 < found.figures["high"]
    assert (found.outcome, world.champion) == ("kept", 1)


def test_how_much_is_asked_of_a_gain_is_a_setting(world):
    world.promote(1)
    assert world.promote(2, rule={"above": 0.9}).outcome == "kept"
    assert world.champion == 1
    sure = world.promote(2, rule={"above": 0.9, "bootstrap": {"level": 0.5}})
    assert sure.figures["level"] == 0.5


def test_where_lower_is_better_a_gain_is_a_fall(world):
    """Institutions are clouds too: what names genera well betrays the herbarium."""
    world.promote(2)
    metric = "leakage/random/institution/accuracy"
    found = world.promote(1, rule=metric, task={"name": "leakage", "splits": ["random"]})
    assert found.figures["value"] < found.figures["champion_value"]
    assert 0 < found.figures["low"] < found.figures["gain"] < found.figures["high"]
    assert (found.outcome, world.champion) == ("promoted", 1)
    assert world.promote(2, rule=metric).outcome == "kept"


def table_of(world, version):
    from herbray.flow.embedding_folder import read_embeddings

    return Embeddings.from_table(read_embeddings(world.folder / f"v{version}-{SHARDS}"))


def test_the_champion_itself_is_left_alone(world):
    world.promote(1)
    before = world.tags(1)
    assert world.promote(1).reason == "it is champion already"
    assert world.promote(to=1).outcome == "kept"
    assert world.tags(1) == before


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"model": "nobody"}, "no model 'nobody' in this registry; its models"),
        ({"version": 7}, "no version 7; its versions: 1, 2, 3"),
        ({"to": 7}, "no version 7; its versions: 1, 2, 3"),
        ({"to": 2, "version": 3}, "set only one of them"),
        ({"rule": "identify/genus/accuracy"}, "write task/split/level/metric"),
        ({"rule": "identfy/random/genus/accuracy"}, "did you mean 'identify'"),
        ({"rule": {"bootstrap": {"resamples": 0}}}, "needs 100 or more"),
        (
            {"rule": "identify/random/genus/auroc"},
            "cannot be compared in pairs; choose one of identify/random/genus/acc",
        ),
        ({"rule": "identify/randon/genus/accuracy"}, "no evaluation set in common"),
        ({"task": {"name": "transfer"}}, "task.name=transfer, but rule.metric is identify"),
        ({"embeddings": ["nowhere"]}, "run `herbray embed`"),
        ({"shards": "beef"}, "version 3 was embedded from no shards that fit"),
    ],
)
def test_bad_input_is_refused_and_moves_nothing(unmoved_world, values, message):
    with pytest.raises(ValueError, match=message):
        unmoved_world.promote(**values)
    assert unmoved_world.champion == 1


def test_a_registry_without_a_champion_has_nothing_to_roll_back_from(world):
    with pytest.raises(
        tracking.ModelNotFound, match=f"no champion to roll back from; `herbray promote {world.name} ver"
    ):
        world.promote(to=2)
    assert world.champion is None


def test_a_registry_that_does_not_exist_is_not_made(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(ValueError, match="no such MLflow store"):
        promote(Promote(model="x", store=tmp_path / "typo"))


def test_no_common_evaluation_set_is_reported_with_what_there_is(world):
    world.promote(1)
    world.embed("other", 2, 4.0, shards="beefbeef")
    with pytest.raises(ValueError, match=rf"version 2 was embedded from shards beefbeef; version 1 .* {SHARDS}"):
        world.promote(2, embeddings=[world.folder / "other", world.folder / f"v1-{SHARDS}"])


def test_of_two_evaluation_sets_one_must_be_chosen(world):
    world.promote(1)
    for version, separation in ((1, 1.0), (2, 3.0)):
        world.embed("other", version, separation, shards="beefbeef", rows=90)
    both = [world.folder, world.folder / "other"]
    with pytest.raises(ValueError, match=rf"shards={SHARDS[:8]} or shards=beefbeef"):
        world.promote(2, embeddings=both)
    assert world.promote(2, embeddings=both, shards="beef").figures["specimens"] == 90


def test_embeddings_of_other_weights_are_refused(world):
    world.promote(1)
    other = world.embed("other", 2, 4.0, weights="0123456789abcdef")
    with pytest.raises(ValueError, match="made with weights 0123456789abcdef, but version 2"):
        world.promote(2, embeddings=[other, world.folder / f"v1-{SHARDS}"])
    right = world.embed("right", 2, 4.0, weights=world.tags(2)["herbray.weights"])
    assert world.promote(2, embeddings=[right, world.folder / f"v1-{SHARDS}"]).outcome == "promoted"


def test_each_look_at_an_evaluation_set_must_be_surer_than_the_one_before(world):
    world.promote(1)
    first, second = world.promote(3), world.promote(2)
    assert [each.figures["look"] for each in (first, second)] == [1, 2]
    assert [each.figures["alpha"] for each in (first, second)] == pytest.approx([0.05 / 2, 0.05 / 6])
    assert [each.figures["level"] for each in (first, second)] == pytest.approx([0.95, 1 - 0.05 / 3])
    assert world.promote(3).figures["look"] == 3  # it is compared with another champion now
    world.embed("other", 1, 1.0, shards="beefbeef")
    world.embed("other", 2, 3.0, shards="beefbeef")
    assert world.promote(1, embeddings=[world.folder / "other"]).figures["look"] == 1  # another evaluation set


def test_the_decision_and_the_card_say_which_look_it_was_and_what_its_figures_are_worth(world):
    world.promote(1)
    world.promote(3)
    found = world.promote(2)
    assert "98.33 % interval" in found.reason
    assert (
        f"180 specimens of shards {SHARDS[:8]}; look 2 at this evaluation set, tested one-sided at 0.833 %"
        in found.reason
    )
    assert "figures reported on split random are of specimens that were used for promotion" in found.reason
    assert found.reason in world.card(2)
    tags = world.tags(2)
    assert (tags["herbray.promotion.look"], tags["herbray.promotion.shards"]) == ("2", SHARDS)
    assert float(tags["herbray.promotion.alpha"]) == pytest.approx(0.05 / 6)


def equal_candidates(seed, many=8, gatherings=60):
    """What a champion and candidates that are no better contribute: hits on the same specimens, at random."""
    generator = np.random.default_rng(seed)
    skill = generator.beta(2, 1, gatherings)
    ids = np.array([f"{number:03d}" for number in range(gatherings)], dtype=object)
    hits = (generator.random((many + 1, gatherings)) < skill).astype(float)
    return [Evidence(SHARDS, Outcome(*RULE.key, ids, hit, np.ones(gatherings))) for hit in hits]


def test_of_many_candidates_as_good_as_the_champion_none_is_promoted_by_chance(world):
    """Before, the second was promoted: each was tested at the full level."""
    for version in range(4, 10):
        tracking.register(
            tracking.open_run(world.uri, "promote", f"{world.name}-{version}", {}), world.name, world.encoder, ""
        )
    world.promote(1)
    champion, *candidates = equal_candidates(LUCKY)
    decisions = [
        judge_candidate(
            world.uri,
            world.name,
            version,
            tracking.read_standing(world.uri, world.name),
            each,
            champion,
            RULE,
            89,
        )
        for version, each in enumerate(candidates, 2)
    ]
    assert {each.outcome for each in decisions} == {"kept"}
    assert [each.figures["look"] for each in decisions] == [1, 2, 3, 4, 5, 6, 7, 8]


def test_of_two_at_once_one_wins_and_the_other_is_refused(world):
    world.promote(3)
    together, ends = threading.Barrier(2), []

    def attempt(version):
        together.wait()
        try:
            ends.append(world.promote(version).outcome)
        except tracking.PromotionOvertaken as error:
            ends.append(str(error))

    threads = [threading.Thread(target=attempt, args=(version,)) for version in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    told = [end for end in ends if "another promotion was faster" in end]
    later = [end for end in ends if end in ("promoted", "kept")]
    assert len(told) + len(later) == 2
    assert world.champion in (1, 2)
    assert len(told) == 1 or sorted(later) != ["kept", "kept"]  # on a loaded machine one may begin after the other


def test_the_verb_takes_a_name_and_a_version_to_go_back_to(world, capsys):
    places = [f"store={world.store}", f"embeddings=[{world.folder}]"]
    assert verb("promote", world.name, "version=1", *places) == 0
    assert verb("promote", world.name, *places) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == f"promoted: {world.name} version 1: the first champion, not compared; champion: version 1"
    assert shown[1].startswith(f"kept: {world.name} version 3: identify/random/genus/accuracy")
    assert verb("promote", world.name, "version=2", *places) == 0
    assert verb("promote", world.name, "--to", "1", *places) == 0
    assert capsys.readouterr().out.splitlines()[1].startswith("rolled back:")
    assert verb("promote", world.name, "--to", "7", *places) == 1
    assert "no version 7; its versions: 1, 2, 3" in capsys.readouterr().err
    assert verb("promote", "no-such.model", *places) == 1
    assert "no model 'no-such.model' in this registry" in capsys.readouterr().err


def verb(*words):
    with pytest.raises(SystemExit) as ended:
        cli.main(list(words))
    return ended.value.code


def entries(world, *versions):
    """What an evaluation finds of these versions."""
    found = []
    for version in versions:
        measured = Identify(splits=("random",), ranks=("genus",)).measure(table_of(world, version), "random")
        scores = measured.scores + bootstrap_intervals(measured.outcomes, Bootstrap(resamples=100))
        folder = world.folder / f"v{version}-{SHARDS}"
        found.append(
            EncoderResults(
                folder, to_result_table(scores, who(version)), to_outcome_table(measured.outcomes, who(version))
            )
        )
    return found


def test_an_evaluation_promotes_the_first_version_and_later_decides_like_promote(world, caplog):
    write_back(world.store, RULE, 89, entries(world, 1))
    assert world.champion == 1
    write_back(world.store, RULE, 89, entries(world, 3))
    assert world.champion == 1
    assert f"`herbray promote {world.name}` compares them" in caplog.text
    assert "herbray.promotion" not in world.tags(3)
    write_back(world.store, RULE, 89, entries(world, 3, 2, 1))
    assert world.champion == 2
    assert world.tags(3)["herbray.promotion.outcome"] == "kept"
    evaluated = {key: world.tags(2)[key] for key in world.tags(2) if key.startswith("herbray.promotion.")}
    write_back(world.store, RULE, 89, entries(world, 2, 1))  # what was champion before is not compared again
    assert world.tags(1)["herbray.promotion"].startswith("no longer champion")
    world.promote(to=1)
    promoted = world.promote(2)
    assert evaluated["herbray.promotion.low"] == str(promoted.figures["low"])
    assert evaluated["herbray.promotion.gain"] == str(promoted.figures["gain"])


def test_an_evaluation_goes_into_card_and_run_of_each_version(world):
    write_back(world.store, RULE, 89, entries(world, 1, 2))
    results = {v: tracking.read_section(tracking.read_card(world.uri, world.name, v), "Results") for v in (1, 2)}
    assert results[1] != results[2]
    assert "| identify | random | genus | accuracy |" in results[1]
    assert "Family 0" in results[1]
    run = tracking.training_run(world.uri, world.name, 1)
    assert "identify/random/genus/accuracy" in client(world.uri).get_run(run.run_id).data.metrics


def test_a_locked_model_gives_a_warning_and_results_are_kept(world, caplog, monkeypatch):
    lock, other = tracking.promotion_lock, f"{world.name}-other"
    locks = []

    def impatient(uri, name):
        locks.append(name)
        return lock(uri, name, 0.0)

    monkeypatch.setattr(tracking, "promotion_lock", impatient)  # the cards
    monkeypatch.setattr("herbray.tracking.champion.promotion.promotion_lock", impatient)  # the alias
    run = tracking.open_run(world.uri, "promote", other, {})
    tracking.register(run, other, world.encoder, "# Another card\n")
    free = entries(world, 2)[0]
    note = read_note(free.folder) | {"uri": f"models:/{other}/1"}
    shutil.copytree(free.folder, world.folder / "other")
    storage.write_note(world.folder / "other" / "manifest.json", note)
    free = dataclasses.replace(free, folder=world.folder / "other")
    with lock(world.uri, world.name):
        write_back(world.store, RULE, 89, [*entries(world, 1), free])
    assert locks == [world.name, other, world.name, other]
    assert caplog.text.count("is being promoted by") == 2
    assert "version 1: these results are not in its model card" in caplog.text
    assert world.champion is None
    assert tracking.read_standing(world.uri, other).champion == 1
    assert "identify" in tracking.read_section(tracking.read_card(world.uri, other, 1), "Results")


def test_a_metric_that_was_not_measured_promotes_no_version(world):
    write_back(world.store, PromotionRule(metric="transfer/herbarium/genus/accuracy"), 89, entries(world, 1))
    assert world.champion is None


def test_embeddings_without_a_registered_version_need_no_registry(tmp_path):
    folder = embed_as(tmp_path, "x", 1, 1.0)
    note = read_note(folder) | {"uri": ""}
    storage.write_note(folder / "manifest.json", note)
    write_back(
        tmp_path / "nowhere",
        RULE,
        89,
        [EncoderResults(folder, schema.RESULT.empty_table(), schema.OUTCOME.empty_table())],
    )
    assert not (tmp_path / "nowhere").exists()


def test_a_task_is_narrowed_to_what_the_metric_needs():
    [part] = narrow_task(Identify(), "random", "species")
    assert (part.splits, part.ranks) == (("random",), ("species",))
    assert [part.ranks for part in narrow_task(Identify(), "random", "no rank")] == [
        ("genus",),
        ("family",),
        ("order",),
    ]
