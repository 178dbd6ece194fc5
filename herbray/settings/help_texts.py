"""What `herbray --help` and `herbray VERB --help` say, and what to type where a verb lacks its settings."""

from pathlib import Path
from typing import Final

PROGRAM: Final = (
    "Turn an archive of herbarium sheets into representations, and measure what they are good for.\n\n"
    "`herbray demo` shows the whole of it in minutes. `herbray init` writes commented YAML files, one or more for each "
    "verb, into jobs/: copy one, change it, run `herbray VERB FILE`."
)

INIT: Final = (
    "Write the YAML files that ship, with comments, into FOLDER/jobs.\n\n"
    "The commands in their first lines are right in FOLDER. The scripts beside them are what `ray job submit` runs."
)

PANELS: Final = {
    "Begin here": ("demo", "doctor"),
    "Stages": ("catalogue", "shard", "train", "embed", "evaluate", "report", "study"),
    "Encoders and lists": ("tune", "register", "promote", "suspects"),
    "For developers": ("benchmark",),
}
"""Heading of the help → its verbs."""

EXAMPLES: Final = {
    "demo": "out=runs/my-demo",
    "doctor": "free_gb=20",
    "catalogue": "jobs/catalogue.yaml",
    "shard": "jobs/shard.yaml side=512",
    "train": "jobs/train.yaml objective.name=classifier",
    "embed": "jobs/embed.yaml model=models:/herbray-triplet@champion",
    "evaluate": "jobs/evaluate.yaml",
    "report": "jobs/report.yaml",
    "study": "jobs/study.yaml seeds=[89]",
    "tune": "jobs/tune-triplet.yaml",
    "register": "runs/train/triplet",
    "promote": "herbray-triplet",
    "suspects": "jobs/suspects.yaml",
    "benchmark": "knn points=100000",
}
"""Verb → the words after it in the example of its help."""

_FIRST_ARGUMENTS: Final = {
    "demo": ("CONFIG", "YAML file; without one, the demo's own (`herbray init` writes it)"),
    "register": ("RUN|CONFIG", "folder of the training, or YAML file"),
    "promote": ("NAME|CONFIG", "registered model, or YAML file"),
    "benchmark": ("NAME|CONFIG", "which benchmark, or YAML file"),
}
_CONFIG_ARGUMENT: Final = ("CONFIG", "YAML file; without one, the defaults (`herbray init` writes files to begin with)")


def panel_of(verb: str) -> str:
    """The heading below which a verb stands."""
    return next(heading for heading, verbs in PANELS.items() if verb in verbs)


def verb_help(verb: str, what: str) -> str:
    """A verb's help: what it does, and an example."""
    return f"{what}\n\nFor example: `herbray {verb} {EXAMPLES[verb]}`"


def first_argument(verb: str) -> tuple[str, str]:
    """How the first word after a verb is called, and what it is."""
    return _FIRST_ARGUMENTS.get(verb, _CONFIG_ARGUMENT)


def suggest_command(verb: str) -> str:
    """What to type where a verb lacks a setting that has no default."""
    example = EXAMPLES[verb].partition(" ")[0]
    before = "`herbray init`, then " if example.startswith("jobs/") and not Path(example).exists() else ""
    return f"try {before}`herbray {verb} {example}`; `herbray {verb} --help` says more"
