"""The model registry: registered versions and their aliases."""

import hashlib
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from herbray.tracking.package import ENCODER_FILES, WEIGHTS, encoder_digest, write_package
from herbray.tracking.runs import Run
from herbray.tracking.store import client, registry_uri

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion, RegisteredModel

    from herbray.model.portable import Encoder

DIGEST_TAG: Final = "herbray.sha256"
WEIGHTS_TAG: Final = "herbray.weights"
"""First 16 digits of the SHA-256 of the weights alone: the fingerprint that embeddings record."""
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,99}")
_MODEL_URI: Final = re.compile(r"models:/(?P<name>[^/@:]+)(?:@(?P<alias>[^/@:]+)|/(?P<version>\d{1,9}|latest))")
_DESCRIPTION_LIMIT: Final = 4_900  # MLflow's database column holds 5,000 characters


class ModelNotFound(ValueError):
    """The model, alias or version is not in the registry; the message lists those that are."""


def register(
    run: Run,
    name: str,
    folder: Path,
    card: str,
    alias: str = "candidate",
    tags: Mapping[str, str] | None = None,
) -> int:
    """Register the encoder in `folder` as the next version of model `name`.

    The version is an MLflow pyfunc model saved as code: it contains `encoder.safetensors` and `encoder.json` for
    `load_encoder`, and a self-contained package for users who have MLflow and torch but not herbray. Registering the
    same files for the same run again returns the existing version.

    Args:
        run: the run that trained the encoder.
        name: model name; letters, digits, `_ . -`.
        folder: written by `herbray.model.encoder_card.save_encoder`.
        card: the model card in Markdown; stored in full as README.md and, shortened if necessary, as the description.
        alias: set on the version, unless a later version already has it.
        tags: tags of the version.

    Returns:
        The version number.

    Raises:
        ValueError: the name is not allowed, or a file is missing or is not a readable encoder.
    """
    from herbray.model.encoder_card import read_encoder

    if not _NAME.fullmatch(name):
        raise ValueError(f"model name {name!r}: use 1 to 100 letters, digits, '_', '.' and '-'")
    if missing := [file for file in ENCODER_FILES if not (folder / file).is_file()]:
        raise ValueError(
            f"{folder}: lacks {' and '.join(missing)}; write the folder with herbray.model.encoder_card.save_encoder"
        )
    encoder = read_encoder(folder)[0]  # an encoder that cannot be loaded must not be registered
    content = encoder_digest(folder)
    version = _find_registered(run, name, content)
    if version is None:
        version = _create_version(
            run,
            name,
            folder,
            encoder,
            card,
            {**(tags or {}), DIGEST_TAG: content, WEIGHTS_TAG: _weights_digest(folder)},
        )
    holder = read_aliases(run.uri, name).get(alias)
    if holder is None or holder < version:
        set_alias(run.uri, name, alias, version)
    return version


def set_alias(uri: str, name: str, alias: str, version: int) -> None:
    """Set `alias` to a version; an alias refers to one version at a time.

    Raises:
        ModelNotFound: the model or version does not exist.
    """
    get_version(uri, name, version)
    client(uri).set_registered_model_alias(name, alias, str(version))


def resolve(uri: str | None, model_uri: str) -> tuple[str, int]:
    """Resolve a `models:/…` URI to the model name and the current version number.

    Args:
        uri: the store; None: the environment variable `MLFLOW_TRACKING_URI`.
        model_uri: `models:/name@alias`, `models:/name/3` or `models:/name/latest` (the highest number).

    Raises:
        ValueError: the URI is malformed, or no registry is given.
        ModelNotFound: the model, alias or version does not exist.
    """
    uri = registry_uri(uri)
    match = _MODEL_URI.fullmatch(model_uri)
    if match is None:
        raise ValueError(f"{model_uri!r}: use models:/name@alias, models:/name/3 or models:/name/latest")
    name, alias, version = match["name"], match["alias"], match["version"]
    if alias is not None:
        known = read_aliases(uri, name)
        if alias not in known:
            have = ", ".join(f"{name} (version {number})" for name, number in sorted(known.items())) or "none"
            hint = f"; `herbray promote {name}` sets the first champion" if alias == "champion" else ""
            raise ModelNotFound(f"model {name!r} has no alias {alias!r}; its aliases: {have}{hint}")
        return name, known[alias]
    if version == "latest":
        return name, max(_list_versions(uri, name))
    get_version(uri, name, int(version))
    return name, int(version)


def pin_version(uri: str | None, model_uri: str) -> str:
    """Replace an alias or `latest` in the URI by the current version number; a URI with a number is not looked up.

    Raises:
        ValueError: the URI is malformed, or no registry is given.
        ModelNotFound: the model or alias does not exist.
    """
    match = _MODEL_URI.fullmatch(model_uri)
    if match is not None and (match["version"] or "").isdecimal():
        return model_uri
    name, version = resolve(uri, model_uri)
    return f"models:/{name}/{version}"


def training_run(uri: str, name: str, version: int) -> Run:
    """The run that trained a version; evaluations are logged to the same run.

    Raises:
        ModelNotFound: the model or version does not exist.
        ValueError: the version was registered without a run.
    """
    run_id = get_version(uri, name, version).run_id
    if not run_id:
        raise ValueError(f"version {version} of {name!r} has no run: it was not registered by herbray")
    experiment = client(uri).get_experiment(client(uri).get_run(run_id).info.experiment_id)
    return Run(uri, run_id, experiment.name)


def get_version(uri: str, name: str, version: int) -> "ModelVersion":
    """Get MLflow's record of a version.

    Raises:
        ModelNotFound: the model or version does not exist.
    """
    from mlflow.exceptions import MlflowException

    try:
        return client(uri).get_model_version(name, str(version))
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
    known = ", ".join(str(number) for number in _list_versions(uri, name))
    raise ModelNotFound(f"model {name!r} has no version {version}; its versions: {known}")


def _weights_digest(folder: Path) -> str:
    with (folder / WEIGHTS).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:16]


def _find_registered(run: Run, name: str, content: str) -> int | None:
    """The version that this run has already registered with the same content."""
    found = client(run.uri).search_model_versions(f"name = '{name}' and run_id = '{run.run_id}'")
    return min((int(each.version) for each in found if each.tags.get(DIGEST_TAG) == content), default=None)


def _create_version(run: Run, name: str, folder: Path, encoder: "Encoder", card: str, tags: Mapping[str, str]) -> int:
    from mlflow.exceptions import MlflowException

    store = client(run.uri)
    experiment = store.get_run(run.run_id).info.experiment_id
    model = store.create_logged_model(experiment, name=name, source_run_id=run.run_id)
    with tempfile.TemporaryDirectory() as temporary:
        package = Path(temporary) / "model"
        requires = encoder.architecture.requires
        write_package(package, folder, encoder.dim, card, run.run_id, model.model_id, requires)
        store.log_model_artifacts(model.model_id, str(package))
    store.finalize_logged_model(model.model_id, "READY")
    try:
        store.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    made = store.create_model_version(
        name,
        source=model.artifact_location,  # with models:/<id>, an SQLite store would search MLflow's global store
        run_id=run.run_id,
        tags={key: str(value) for key, value in tags.items()},
        description=to_description(card),
        model_id=model.model_id,
    )
    return int(made.version)


def _list_versions(uri: str, name: str) -> list[int]:
    """Numbers of all versions of a model in ascending order; never empty."""
    get_record(uri, name)
    found: list[int] = []
    token = None
    while True:
        page = client(uri).search_model_versions(f"name = '{name}'", page_token=token)
        found += [int(each.version) for each in page]
        token = page.token
        if not token:
            break
    if not found:
        raise ModelNotFound(f"model {name!r} is registered but has no version yet")
    return sorted(found)


def to_description(card: str) -> str:
    """The model card as a description, shortened to the limit of MLflow."""
    return card if len(card) <= _DESCRIPTION_LIMIT else f"{card[:_DESCRIPTION_LIMIT]}…\n\n(full text in README.md)"


def read_aliases(uri: str, name: str) -> dict[str, int]:
    """Read the aliases of a model with their version numbers.

    Raises:
        ModelNotFound: the model does not exist.
    """
    return {alias: int(version) for alias, version in get_record(uri, name).aliases.items()}


def get_record(uri: str, name: str) -> "RegisteredModel":
    """Get MLflow's record of a registered model.

    Raises:
        ModelNotFound: the model does not exist.
    """
    from mlflow.exceptions import MlflowException

    try:
        return client(uri).get_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
    known = ", ".join(sorted(model.name for model in client(uri).search_registered_models(max_results=20)))
    raise ModelNotFound(f"no model {name!r} in this registry; its models: {known or 'none yet: train one first'}")
