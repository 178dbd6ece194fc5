"""Renders the kustomizations of `cluster/` and compares objects with the strict schemas (schemas/README.md)."""

import functools
import json
import subprocess
from importlib.resources import files
from pathlib import Path

import yaml
from jsonschema import Draft202012Validator
from referencing import Registry, Resource

CLUSTER = Path(__file__).parents[2] / "cluster"
KUBERNETES = "1.37.0"
DIALECT = "https://json-schema.org/draft/2020-12/schema"
TYPES = Path(__file__).parent / "schemas" / "custom_resources.yaml"


def render(folder):
    """The objects that `kubectl apply -k FOLDER` would send."""
    done = subprocess.run(["kubectl", "kustomize", str(folder)], capture_output=True, text=True, timeout=60)
    if done.returncode:
        raise ValueError(f"{folder}: {done.stderr}")
    return list(yaml.safe_load_all(done.stdout))


def find_faults(thing):
    """What the schemas object to: a list of texts, empty if the object is valid."""
    errors = _validator(thing["apiVersion"], thing["kind"]).iter_errors(thing)
    return [f"{thing['kind']}/{thing['metadata']['name']} {error.json_path}: {error.message}" for error in errors]


@functools.cache
def _validator(version, kind):
    if kind in _own_types()["$defs"]:
        return Draft202012Validator({"$ref": f"own#/$defs/{kind}"}, registry=_registry())
    group, _, plain = version.rpartition("/")
    name = f"{kind.lower()}-{group.split('.')[0] + '-' if group else ''}{plain}.json"
    return Draft202012Validator(_kubernetes(name), registry=_registry())


@functools.cache
def _registry():
    definitions = _kubernetes("_definitions.json")
    return Registry().with_resources(
        [(definitions["$id"], Resource.from_contents(definitions)), ("own", Resource.from_contents(_own_types()))]
    )


@functools.cache
def _kubernetes(name):
    folder = files("kubernetes_validate") / "kubernetes-json-schema" / f"v{KUBERNETES}-local-strict"
    return json.loads((folder / name).read_text())


@functools.cache
def _own_types():
    types = yaml.safe_load(TYPES.read_text())
    return {"$schema": DIALECT, "$defs": {name: _object(fields) for name, fields in types.items()}}


def _object(fields):
    properties = {field.rstrip("!"): _type(kind) for field, kind in fields.items()}
    required = [field.rstrip("!") for field in fields if field.endswith("!")]
    if "apiVersion" in properties:  # an object, not a part of one
        properties |= {"kind": {}, "metadata": _type("k8s.ObjectMeta")}
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _type(text):
    if isinstance(text, list):
        return {"type": "array", "items": _type(text[0])}
    if text in ("string", "integer", "number", "boolean"):
        return {"type": text}
    if text == "texts":
        return {"type": "object", "additionalProperties": {"type": "string"}}
    if "|" in text:
        return {"enum": text.split(" | ")}
    if text.startswith("k8s."):
        return {"$ref": f"{_kubernetes('_definitions.json')['$id']}#/$defs/{_full_name(text.removeprefix('k8s'))}"}
    return {"$ref": f"own#/$defs/{text}"} if text in _names() else {"enum": [text]}


@functools.cache
def _names():
    return set(yaml.safe_load(TYPES.read_text()))


def _full_name(ending):
    """Of the type in Kubernetes' version 1: `.Taint` is `io.k8s.api.core.v1.Taint`."""
    names = [name for name in _kubernetes("_definitions.json")["$defs"] if name.endswith(ending)]
    return next(iter([name for name in names if f"v1{ending}" in name] or names))
