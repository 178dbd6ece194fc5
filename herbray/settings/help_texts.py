"""Texts of `herbray --help` and `herbray VERB --help`, and the command to suggest if a required setting is missing."""

from pathlib import Path
from typing import Final

PROGRAM: Final = (
    "Learn representations of herbarium sheets, and measure what they are good for.\n\n"
    "`herbray demo` runs all stages within minutes. `herbray init` writes commented YAML files, one or more per verb, "
    "into jobs/: copy one, change it, run `herbray VERB FILE`."
)

INIT: Final = (
    "Write the shipped YAML files, with comments, into FOLDER/jobs.\n\n"
    "Run the commands in their first lines from FOLDER. The scripts next to them are for `ray job submit`."
)

PANELS: Final = {
    "Start here": ("demo", "doctor", "plan"),
    "Stages": ("catalogue", "fetch", "shard", "train", "embed", "evaluate", "report", "study"),
    "Encoders and lists": ("tune", "register", "promote", "suspects", "review", "search", "identify", "export"),
    "For developers": ("benchmark",),
}
"""Heading in the help → its verbs."""

FLAGS: Final = {
    "catalogue": ("look", "only show what would be read, and propose settings; short for look=true"),
    "plan": ("measure", "measure this machine first; short for measure=true"),
    "review": ("serve", "serve the page on this machine, and save verdicts; short for serve=true"),
}
"""Verb → one of its settings that is also an option, and its help."""

EXAMPLES: Final = {
    "demo": "out=runs/my-demo",
    "doctor": "free_gb=20",
    "plan": "jobs/plan.yaml cluster.nodes=4",
    "catalogue": "jobs/catalogue.yaml",
    "fetch": "jobs/fetch.yaml contact=NAME@HERBARIUM",
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
    "review": "jobs/review.yaml --serve",
    "search": "photo.jpg k=20",
    "identify": "jobs/identify.yaml accuracy=0.98",
    "export": "jobs/export.yaml",
    "benchmark": "knn points=100000",
}
"""Verb → arguments of the example in its help."""

_FIRST_ARGUMENTS: Final = {
    "demo": ("CONFIG", "YAML file; default: the file of the demo, which `herbray init` writes"),
    "register": ("RUN|CONFIG", "run folder of the training, or YAML file"),
    "promote": ("NAME|CONFIG", "registered model, or YAML file"),
    "search": ("IMAGE|CONFIG", "image file, folder of images, or YAML file; `herbray init` writes one"),
    "benchmark": ("NAME|CONFIG", "name of the benchmark, or YAML file"),
}
_CONFIG_ARGUMENT: Final = (
    "CONFIG",
    "YAML file; default: the default settings (`herbray init` writes files to start with)",
)


def panel_of(verb: str) -> str:
    """The heading of a verb in the help."""
    return next(heading for heading, verbs in PANELS.items() if verb in verbs)


def verb_help(verb: str, what: str) -> str:
    """The help of a verb: what it does, and an example."""
    return f"{what}\n\nFor example: `herbray {verb} {EXAMPLES[verb]}`"


def first_argument(verb: str) -> tuple[str, str]:
    """Name and help of the first argument of a verb."""
    return _FIRST_ARGUMENTS.get(verb, _CONFIG_ARGUMENT)


def suggest_command(verb: str) -> str:
    """The command to suggest if a required setting of a verb is missing."""
    example = EXAMPLES[verb].partition(" ")[0]
    before = "`herbray init`, then " if example.startswith("jobs/") and not Path(example).exists() else ""
    return f"try {before}`herbray {verb} {example}`; see `herbray {verb} --help`"
