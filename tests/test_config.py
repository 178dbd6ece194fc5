from typing import Annotated, Literal

import pytest
from pydantic import Field

from herbray import config
from herbray.config import ConfigError, Spec


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
    optimizer: Optimizer = Optimizer()
    objective: Annotated[Red | Blue, Field(discriminator="name")] = Red()
    many: tuple[Optimizer, ...] = ()


def write(folder, text):
    path = folder / "job.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_file_then_overrides_and_the_latter_win(tmp_path):
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


def test_all_faults_are_told_at_once():
    with pytest.raises(ConfigError) as caught:
        config.load(Job, None, ["epochs=many", "optimizer.lr=fast", "colour=red"])
    text = str(caught.value)
    assert "epochs:" in text
    assert "optimizer.lr:" in text
    assert "colour: unknown key; known keys: epochs, many, objective, optimizer" in text


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
def test_files_that_are_no_configuration(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message):
        config.load(Job, write(tmp_path, text))


def test_a_missing_file_says_where_to_look(tmp_path):
    with pytest.raises(ConfigError, match="no such configuration file"):
        config.load(Job, tmp_path / "none.yaml")


def test_an_empty_file_is_all_defaults(tmp_path):
    assert config.load(Job, write(tmp_path, "# nothing\n")) == Job()
