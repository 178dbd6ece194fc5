import importlib
import os
import random
import re
import time
from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field

from herbray import cli, config
from herbray.config import ConfigError, Spec
from herbray.settings import job_files


class Red(Spec):
    name: Literal["red"] = "red"
    margin: float = Field(1.0, gt=0)


class Blue(Spec):
    name: Literal["blue"] = "blue"
    depth: int = 3


class Optimizer(Spec):
    lr: float = 1e-3


class Job(Spec):
    epochs: int = 1
    title: str = ""
    out: Path = Path("runs")
    shout: bool = False
    optimizer: Optimizer = Optimizer()
    objective: Annotated[Red | Blue, Field(discriminator="name")] = Red()
    many: tuple[Optimizer, ...] = ()


def write(folder, text):
    path = folder / "job.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_overrides_take_precedence_over_the_file(tmp_path):
    path = write(tmp_path, "epochs: 4\noptimizer: {lr: 1e-2}\n")
    job = config.load(Job, path, ["epochs=7", "objective.name=blue", "objective.depth=5"])
    assert (job.epochs, job.optimizer.lr, job.objective) == (7, 0.01, Blue(depth=5))


def test_dump_is_read_back_unchanged(tmp_path):
    job = Job(epochs=3, objective=Blue(depth=9), many=(Optimizer(lr=0.5),))
    assert config.load(Job, write(tmp_path, config.dump(job))) == job


def test_a_specification_is_frozen():
    with pytest.raises(ValueError, match="frozen"):
        Job().epochs = 2


def test_unknown_key_names_its_dotted_path_and_the_nearest_key():
    with pytest.raises(ConfigError, match=r"optimizer\.rl: unknown key; did you mean 'lr'"):
        config.load(Job, None, ["optimizer.rl=1"])


def test_unknown_key_inside_a_union_leaves_the_tag_out_of_the_path():
    with pytest.raises(ConfigError, match=r"  objective\.margn: unknown key; did you mean 'margin'"):
        config.load(Job, None, ["objective.name=red", "objective.margn=1"])


def test_unknown_key_inside_a_list(tmp_path):
    with pytest.raises(ConfigError, match=r"many\.0\.lrr: unknown key; did you mean 'lr'"):
        config.load(Job, write(tmp_path, "many: [{lrr: 1}]"))


def test_all_faults_are_reported_at_once():
    with pytest.raises(ConfigError) as caught:
        config.load(Job, None, ["epochs=many", "optimizer.lr=fast", "colour=red"])
    text = str(caught.value)
    assert "epochs:" in text
    assert "optimizer.lr:" in text
    assert "colour: unknown key; known keys: epochs, many, objective, optimizer, out, shout, title" in text


@pytest.mark.parametrize(
    ("override", "message"),
    [("epochs", "dotted.key=value"), ("epochs.deep=1", "not further keys"), ("=1", "dotted.key"), ("epochs=[", "YAML")],
)
def test_malformed_overrides(tmp_path, override, message):
    with pytest.raises(ConfigError, match=message):
        config.load(Job, write(tmp_path, "epochs: 4"), [override])


@pytest.mark.parametrize(
    ("text", "message"), [("- a", "mapping"), ("a: [", "not valid YAML"), ("a: \x07", "not valid YAML")]
)
def test_files_that_are_not_a_configuration_are_refused(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message):
        config.load(Job, write(tmp_path, text))


def test_a_missing_file_says_where_to_look(tmp_path):
    with pytest.raises(ConfigError, match="no such configuration file"):
        config.load(Job, tmp_path / "none.yaml")


def test_an_empty_file_is_all_defaults(tmp_path):
    assert config.load(Job, write(tmp_path, "# nothing\n")) == Job()


def refused(*overrides, path=None):
    with pytest.raises(ConfigError) as caught:
        config.load(Job, path, overrides)
    return str(caught.value)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"epochs: 1\nepochs: 2", "job.yaml, line 2: key 'epochs' is given twice (first in line 1)"),
        (b"optimizer: {lr: 1, lr: 2}", "job.yaml, line 1: key 'lr' is given twice"),
        (b"epochs: !!python/name:os.system", "job.yaml, line 1: tag !!python/name:os.system"),
        (b"[" * 5000, "job.yaml, line 1: nested deeper"),
        (b"epochs:\n\t- 1", "job.yaml, line 2: not valid YAML"),
        (b"title: Iso\xebtes", "job.yaml, line 1: neither UTF-8 nor UTF-16"),
        (b"- epochs", "job.yaml: a configuration is a mapping of keys, not a list; write lines of `key: value`"),
        (b"epochs", "job.yaml: a configuration is a mapping of keys, not a str"),
        (b"#" * 70_000, "job.yaml, longer than 64 KiB"),
    ],
)
def test_a_file_that_is_refused_is_named_with_its_line(tmp_path, data, message):
    (tmp_path / "job.yaml").write_bytes(data)
    told = refused(path=tmp_path / "job.yaml")
    assert told.startswith(f"{tmp_path}/{message}")
    assert "\n" not in told


def test_a_folder_is_not_a_configuration(tmp_path):
    assert refused(path=tmp_path) == f"{tmp_path}: cannot be read (Is a directory); name a YAML file"


def test_an_endless_file_is_not_read_to_its_end():
    began = time.monotonic()
    assert "longer than" in refused(path=Path("/dev/zero"))
    assert time.monotonic() - began < 60


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_configuration_may_come_through_a_pipe():
    read, write = os.pipe()
    os.write(write, b"epochs: 3")
    os.close(write)
    assert config.load(Job, f"/dev/fd/{read}").epochs == 3
    os.close(read)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optimizer={lr: 1, lr: 2}", "override 'optimizer={lr: 1, lr: 2}': line 1: key 'lr' is given twice"),
        ("epochs=!!float x", "'x' is not of type float"),
        ("optimizer=" + "[" * 9000, "nested deeper"),
        ("title=a: b: c", "put text that holds ': ' into quotes"),
        ("model=@x", "put text that begins with a special character into quotes"),
    ],
)
def test_overrides_are_read_strictly_too(override, message):
    told = refused(override)
    assert message in told
    assert "\n" not in told
    assert len(told) < 400


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("title=2021", "title: 2021 is read as a number; put it into quotes"),
        ("title=true", "title: true is read as a boolean; put it into quotes"),
        ("out=12", "out: 12 is read as a number; put it into quotes"),
        ("title=", "title: Input should be a valid string (got 'null')"),
        ("null=1", "null: unknown key; known keys: "),
        ("3=1", "3: unknown key; known keys: "),
    ],
)
def test_a_value_that_yaml_takes_for_another_kind_is_explained(override, line):
    assert f"\n  {line}" in refused(override)


@pytest.mark.parametrize("text", ["NO", "on", "2021-06-01", "12:30", "007", "1e-3", "0x1F"])
def test_text_stays_text_in_text_settings(tmp_path, text):
    assert config.load(Job, write(tmp_path, f"title: {text}")).title == text


def test_words_become_booleans_in_boolean_settings(tmp_path):
    for word, value in {"no": False, "off": False, "yes": True, "on": True, "true": True}.items():
        assert config.load(Job, write(tmp_path, f"shout: {word}")).shout is value
    assert config.load(Job, None, ["epochs=007", "optimizer.lr=1e-3"]).epochs == 7


def test_an_override_changes_one_place_of_an_anchor(tmp_path):
    path = write(tmp_path, "many: [{lr: 1}]\noptimizer: &o {lr: 2}\nobjective: {name: red}\n")
    assert config.load(Job, path, ["optimizer.lr=3"]).optimizer.lr == 3

    class Two(Spec):
        first: Optimizer
        second: Optimizer

    path = write(tmp_path, "first: &o {lr: 2}\nsecond: *o\n")
    two = config.load(Two, path, ["first.lr=3"])
    assert (two.first.lr, two.second.lr) == (3, 2)


def test_an_error_names_some_of_a_thousand_faults_and_counts_the_others():
    told = refused(f"many=[{','.join(['{lrr: 1}'] * 1000)}]").splitlines()
    assert len(told) == 22
    assert told[1] == "  many.0.lrr: unknown key; did you mean 'lr'?"
    assert told[-1] == "  and 980 more"


SCRAPS = (
    *("&a ", "*a", "<<: *a\n", "\t", "- ", "? ", ": ", "{", "}", "[", "]", "!!set ", "!x ", "no", "null", "~", ".nan"),
    *("2020-01-01", "'", '"', "|\n", ">\n", "#", "---\n", "\0", "\ufeff", "9" * 50, "-1", "1e400", "  ", "\n", "''"),
    *("preset: walker2022\n", "preset: [1]\n", "scale: demo\n", "scales: 3\n", "scales: {demo: [1]}\n", "[[1]]"),
    *("{a: {b: c}}", "a.b", "models:/x@y", "../..", "99999999999999999999", "true", "1"),
)


def mutated(text, rng):
    """A YAML text with a few typical edits of people and programs."""
    for _ in range(rng.randint(1, 4)):
        lines = text.splitlines(keepends=True) or [""]
        at, to, line = rng.randrange(len(text) + 1), rng.randrange(len(text) + 1), rng.randrange(len(lines))
        words = list(re.finditer(r"[\w.]+", text))
        match rng.randrange(5):
            case 0:
                text = text[:at] + rng.choice(SCRAPS) + text[at:]
            case 1:
                text = text[:at] + text[at + rng.randint(1, 12) :]
            case 2:
                text = text[:to] + text[at : at + rng.randint(1, 40)] + text[to:]
            case 3:
                lines[line] = " " * rng.randint(0, 6) + lines[line].lstrip() * rng.randint(0, 2)
                text = "".join(lines)
            case 4 if words:
                word = rng.choice(words)
                text = text[: word.start()] + rng.choice(SCRAPS) + text[word.end() :]
    return text


def kind_of(path):
    """The specification that a shipped file is for."""
    verb = "study" if path.parent.name == "experiments" else path.stem.partition("-")[0]
    module, kind, *_ = cli.VERBS[{"pretrain": "train"}.get(verb, verb)]
    return getattr(importlib.import_module(module), kind)


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted(job_files.find_folder().rglob("*.yaml")), ids=lambda path: path.stem)
def test_mutated_files_are_read_or_refused_with_a_message(tmp_path, path):
    rng, text, kind = random.Random(path.stem), path.read_text(encoding="utf-8"), kind_of(path)
    outcomes = set()
    for number in range(400):
        if number >= 40 and len(outcomes) == 2:
            break
        began = time.process_time()
        try:
            config.load(kind, write(tmp_path, mutated(text, rng)))
            outcomes.add("read")
            told = ""
        except ConfigError as error:
            outcomes.add("refused")
            told = str(error)
        assert all(len(line) < 1000 for line in told.splitlines())
        assert time.process_time() - began < 5
    assert outcomes == {"read", "refused"}
