"""The promotion job: makes a candidate champion if it beats the present champion, or rolls back by hand."""

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from herbray import schema, tracking
from herbray.config import Spec
from herbray.flow.embedding_folder import load_embeddings, read_note
from herbray.flow.evaluation.comparison import (
    AnyRule,
    Evidence,
    PromotionRule,
    already_champion,
    find_evidence,
    judge_candidate,
    narrow_task,
)
from herbray.flow.evaluation.job import embeddings_folders
from herbray.flow.training.fingerprints import identity_from_manifest
from herbray.tasks import TASKS, AnyTask, to_outcome_table
from herbray.tasks.interface.base import PAPER_SEED
from herbray.tasks.methods.bootstrap import group_by_gathering


class Promote(Spec):
    """The promotion job. Reads two embeddings folders of one evaluation set, moves an alias of the registry."""

    model: str = Field(description="name of the registered model")
    version: int | None = Field(None, ge=1, description="the candidate; None: the version with the alias `candidate`")
    to: int | None = Field(None, ge=1, description="make this version champion without a comparison: roll back")
    embeddings: tuple[Path, ...] = Field((Path("runs/embeddings"),), description="folders, or folders of such folders")
    shards: str | None = Field(
        None, description="fingerprint, or its beginning; needed if both versions were embedded from several shards"
    )
    rule: AnyRule = Field(PromotionRule(), description="what makes a candidate champion")
    task: AnyTask | None = Field(None, description="settings of the rule's task; None: its defaults")
    store: Path = Field(Path("runs"), description="holds mlflow.db, unless MLFLOW_TRACKING_URI is set")
    seed: int = Field(PAPER_SEED, description="seed of folds and resampling")

    @model_validator(mode="after")
    def _check_mode(self) -> Self:
        if self.to is not None and self.version is not None:
            raise ValueError("`to` rolls back by hand, `version` names a candidate to compare: set only one of them")
        if self.task is not None and self.task.name != self.rule.key[0]:
            raise ValueError(f"task.name={self.task.name}, but rule.metric is {self.rule.metric}")
        return self


def promote(spec: Promote) -> tracking.Decision:
    """Make the candidate champion if it is better, or say why not; with `to`, roll back.

    The candidate is better if the paired bootstrap interval of its gain lies above `rule.above`. The gain is computed
    from the two embeddings folders, over the specimens of one evaluation set that both encoders embedded. A model
    without a champion gets its first one without a comparison.

    A decision against the candidate is not an error: the command exits with 0.

    Raises:
        ModelNotFound: no such model, version or alias.
        ValueError: the versions have no evaluation set in common, or no specimen contributes to the metric.
        PromotionOvertaken: another promotion moved the alias in the meantime; nothing was changed.
        PromotionHeld: another promotion holds the model's lock.
    """
    uri = tracking.registry_uri(tracking.tracking_uri(spec.store))
    standing = tracking.read_standing(uri, spec.model)
    if spec.to is not None:
        return _roll_back(uri, spec.model, spec.to, standing)
    address = f"models:/{spec.model}@candidate" if spec.version is None else f"models:/{spec.model}/{spec.version}"
    version = tracking.resolve(uri, address)[1]
    mine, theirs = None, None
    if standing.champion is not None and standing.champion != version:
        mine, theirs = _measure_both(spec, uri, version, standing.champion)
    return judge_candidate(uri, spec.model, version, standing, mine, theirs, spec.rule, spec.seed)


def _roll_back(uri: str, name: str, version: int, standing: tracking.Standing) -> tracking.Decision:
    tracking.get_version(uri, name, version)
    if standing.champion is None:
        raise tracking.ModelNotFound(
            f"model {name!r} has no champion to roll back from; `herbray promote {name} version={version}` makes "
            f"version {version} champion"
        )
    if standing.champion == version:
        return already_champion(name, version)
    reason = f"set by hand in place of version {standing.champion}, without a comparison"
    figures = {"against": standing.champion}
    decision = tracking.Decision(name, version, standing.champion, "rolled back", reason, figures)
    tracking.apply_decision(uri, decision, standing)
    return decision


def _measure_both(spec: Promote, uri: str, version: int, champion: int) -> tuple[Evidence, Evidence]:
    """The evidence of candidate and champion on their common evaluation set."""
    mine, theirs = _find_folders(spec, version), _find_folders(spec, champion)
    common = sorted(set(mine) & set(theirs))
    if not common:
        missing = champion if mine else version
        raise ValueError(
            f"versions {version} and {champion} of {spec.model} have no evaluation set in common in "
            f"{', '.join(map(str, spec.embeddings))}: {_describe_folders(version, mine)}; "
            f"{_describe_folders(champion, theirs)}; embed both from the same shards with split {spec.rule.key[1]}: "
            f"`herbray embed model=models:/{spec.model}/{missing}`"
        )
    if len(common) > 1:
        raise ValueError(
            f"versions {version} and {champion} of {spec.model} have several evaluation sets in common: choose one "
            f"with shards={' or shards='.join(each[:8] for each in common)}"
        )
    shards = common[0]
    return _measure(spec, uri, version, mine[shards]), _measure(spec, uri, champion, theirs[shards])


def _find_folders(spec: Promote, version: int) -> dict[str, Path]:
    """The embeddings folders of a version that contain the rule's split, by fingerprint of their shards."""
    wanted = set(spec.rule.key[1].split("+"))
    found: dict[str, Path] = {}
    for folder in embeddings_folders(spec.embeddings):
        note = read_note(folder)
        fits = note["uri"] == f"models:/{spec.model}/{version}" and wanted <= set(note["splits"])
        if fits and note["shards"].startswith(spec.shards or ""):
            found[note["shards"]] = folder
    return found


def _describe_folders(version: int, folders: dict[str, Path]) -> str:
    shards = f"shards {', '.join(sorted(folders))}" if folders else "no shards that fit"
    return f"version {version} was embedded from {shards}"


def _measure(spec: Promote, uri: str, version: int, folder: Path) -> Evidence:
    """Run the rule's task on an embeddings folder.

    Raises:
        ValueError: the folder was made with other weights than the version's, or no specimen contributes to the metric.
    """
    note = read_note(folder)
    weights = note["encoder"][: schema.WEIGHTS_DIGITS]
    registered = tracking.get_version(uri, spec.model, version).tags.get(tracking.WEIGHTS_TAG)
    if registered and weights != registered:
        raise ValueError(
            f"{folder}: made with weights {weights}, but version {version} of {spec.model} has {registered}: "
            "it belongs to another registry; embed this version into another folder and set embeddings to that folder"
        )
    task, split, level, _ = spec.rule.key
    table = load_embeddings(folder)
    found = [
        outcome
        for part in narrow_task(spec.task or TASKS[task].model_validate({}), split, level)
        for outcome in part.measure(table, split, spec.seed).outcomes
    ]
    outcomes = group_by_gathering(found, table)
    evidence = find_evidence(note["shards"], to_outcome_table(outcomes, identity_from_manifest(note)), spec.rule)
    if evidence is None:
        measured = sorted({f"{each.task}/{each.split}/{each.level}/{each.metric}" for each in outcomes})
        raise ValueError(
            f"{spec.rule.metric}: not a mean over specimens, so it cannot be compared in pairs; choose one of "
            f"{', '.join(measured[:12]) or 'another task: this task has no such metric'}"
        )
    return evidence
