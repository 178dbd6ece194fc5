"""The alias `champion`: earned against the present one on the same specimens, or given back by hand."""

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from herbray import schema, tracking
from herbray.config import Spec
from herbray.flow.embedding.job import read_embeddings, read_note
from herbray.flow.evaluation.comparison import AnyRule, Evidence, Rule, already, consider, evidence, narrowed
from herbray.flow.evaluation.job import embeddings_folders
from herbray.flow.training.fingerprints import identity_from_manifest
from herbray.tasks import TASKS, AnyTask, Embeddings, to_outcome_table
from herbray.tasks.base import PAPER_SEED
from herbray.tasks.methods.bootstrap import by_gathering


class Promote(Spec):
    """The promotion job. Reads two embeddings folders of one evaluation set, moves an alias of the registry."""

    model: str = Field(description="the registered model")
    version: int | None = Field(None, ge=1, description="the candidate; None: what the alias `candidate` names")
    to: int | None = Field(None, ge=1, description="make this version champion without a comparison: roll back")
    embeddings: tuple[Path, ...] = Field((Path("runs/embeddings"),), description="folders, or folders of such folders")
    shards: str | None = Field(None, description="fingerprint, or its beginning, where both have several in common")
    rule: AnyRule = Field(Rule(), description="what makes a candidate champion")
    task: AnyTask | None = Field(None, description="settings of the rule's task; None: its defaults")
    store: Path = Field(Path("runs"), description="holds mlflow.db, unless MLFLOW_TRACKING_URI is set")
    seed: int = Field(PAPER_SEED, description="seed of folds and resampling")

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.to is not None and self.version is not None:
            raise ValueError("to gives the alias back by hand, version lets one earn it: set one of them")
        if self.task is not None and self.task.name != self.rule.key[0]:
            raise ValueError(f"task.name={self.task.name}, but rule.metric is {self.rule.metric}")
        return self


def promote(spec: Promote) -> tracking.Decision:
    """Make the candidate champion if it is better, or say why not; with `to`, roll back.

    Better: the paired bootstrap's interval of the gain, over the specimens of one evaluation set that both encoders
    embedded, lies above `rule.above`. What each specimen contributes is computed from the two embeddings folders. A
    model without a champion gets its first one without a comparison.

    A decision against the candidate is a decision, not an error: the verb's exit code is 0 then, too.

    Raises:
        ModelNotFound: no such model, version or alias.
        ValueError: no evaluation set in common, or a metric that no specimen contributes to.
        PromotionOvertaken: another promotion moved the champion meanwhile; nothing was changed.
        PromotionHeld: another one holds the model's lock.
    """
    uri = tracking.registry_uri(tracking.tracking_uri(spec.store))
    seen = tracking.standing(uri, spec.model)
    if spec.to is not None:
        return _give_back(uri, spec.model, spec.to, seen)
    address = f"models:/{spec.model}@candidate" if spec.version is None else f"models:/{spec.model}/{spec.version}"
    version = tracking.resolve(uri, address)[1]
    mine, theirs = None, None
    if seen.champion is not None and seen.champion != version:
        mine, theirs = _gather(spec, uri, version, seen.champion)
    return consider(uri, spec.model, version, seen, mine, theirs, spec.rule, spec.seed)


def _give_back(uri: str, name: str, version: int, seen: tracking.Standing) -> tracking.Decision:
    tracking.get_version(uri, name, version)
    if seen.champion is None:
        raise tracking.ModelNotFound(
            f"model {name!r} has no champion to roll back from; `herbray promote {name} version={version}` makes one"
        )
    if seen.champion == version:
        return already(name, version)
    reason = f"given by hand in place of version {seen.champion}, without a comparison"
    decision = tracking.Decision(name, version, seen.champion, "rolled back", reason, {"against": seen.champion})
    tracking.decide(uri, decision, seen)
    return decision


def _gather(spec: Promote, uri: str, version: int, champion: int) -> tuple[Evidence, Evidence]:
    """The evidence of candidate and champion, on the one evaluation set that both have."""
    mine, theirs = _folders(spec, version), _folders(spec, champion)
    common = sorted(set(mine) & set(theirs))
    if not common:
        missing = champion if mine else version
        raise ValueError(
            f"no evaluation set that versions {version} and {champion} of {spec.model} have in common in "
            f"{', '.join(map(str, spec.embeddings))}: {_known(version, mine)}; {_known(champion, theirs)}; embed both "
            f"from the same shards with split {spec.rule.key[1]}: `herbray embed model=models:/{spec.model}/{missing}`"
        )
    if len(common) > 1:
        raise ValueError(
            f"versions {version} and {champion} of {spec.model} have several evaluation sets in common: choose one "
            f"with shards={' or shards='.join(each[:8] for each in common)}"
        )
    place = common[0]
    return _measured(spec, uri, version, mine[place]), _measured(spec, uri, champion, theirs[place])


def _folders(spec: Promote, version: int) -> dict[str, Path]:
    """Embeddings of a version that hold the rule's split, by fingerprint of their shards."""
    wanted = set(spec.rule.key[1].split("+"))
    found: dict[str, Path] = {}
    for folder in embeddings_folders(spec.embeddings):
        note = read_note(folder)
        fits = note["uri"] == f"models:/{spec.model}/{version}" and wanted <= set(note["splits"])
        if fits and note["shards"].startswith(spec.shards or ""):
            found[note["shards"]] = folder
    return found


def _known(version: int, folders: dict[str, Path]) -> str:
    return f"version {version} was embedded from shards {', '.join(sorted(folders)) or 'none that fit'}"


def _measured(spec: Promote, uri: str, version: int, folder: Path) -> Evidence:
    """Ask the rule's task about an embeddings folder.

    Raises:
        ValueError: the folder was made by other weights than the version's, or no specimen contributes to the metric.
    """
    note = read_note(folder)
    made = note["encoder"][: schema.WEIGHTS_DIGITS]
    registered = tracking.get_version(uri, spec.model, version).tags.get(tracking.WEIGHTS_TAG)
    if registered and made != registered:
        raise ValueError(
            f"{folder}: made by weights {made}, but version {version} of {spec.model} has {registered}: it belongs to "
            "another registry; embed this version into another folder and name that in embeddings"
        )
    task, split, level, _ = spec.rule.key
    table = Embeddings.from_table(read_embeddings(folder))
    found = [
        outcome
        for part in narrowed(spec.task or TASKS[task].model_validate({}), split, level)
        for outcome in part.measure(table, split, spec.seed).outcomes
    ]
    outcomes = by_gathering(found, table)
    proof = evidence(note["shards"], to_outcome_table(outcomes, identity_from_manifest(note)), spec.rule)
    if proof is None:
        known = sorted({f"{each.task}/{each.split}/{each.level}/{each.metric}" for each in outcomes})
        raise ValueError(
            f"{spec.rule.metric}: no mean over specimens, so it cannot be compared in pairs; there are "
            f"{', '.join(known[:12]) or 'none of this task'}"
        )
    return proof
