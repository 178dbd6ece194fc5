"""The verbs of the command line, and the job of each."""

from typing import Final

VERBS: Final = {
    "catalogue": ("herbray.data.catalogue_job", "Catalogue", "run", "List the specimens of a source in a catalogue."),
    "fetch": (
        "herbray.flow.fetching.job",
        "Fetch",
        "fetch",
        "Fetch the images of a catalogue that are on the web, with courtesy.",
    ),
    "shard": ("herbray.flow.shards.build", "Shard", "shard", "Split a catalogue and write its images to shards."),
    "train": ("herbray.flow.training.job", "Train", "train", "Train an encoder and register it."),
    "register": (
        "herbray.flow.training.registration",
        "Register",
        "register",
        "Register a finished training whose tracking server was unreachable; RUN is the run folder.",
    ),
    "tune": (
        "herbray.flow.sweep.job",
        "Tune",
        "tune",
        "Search for good settings with many short trainings; write the best to a file.",
    ),
    "embed": ("herbray.flow.embedding.job", "Embed", "embed", "Turn shards into embeddings with an encoder."),
    "evaluate": (
        "herbray.flow.evaluation.job",
        "Evaluate",
        "evaluate",
        "Score embeddings on the three tasks of curators.",
    ),
    "promote": (
        "herbray.flow.evaluation.promotion",
        "Promote",
        "promote",
        "Make a model's candidate the champion if it is better.",
    ),
    "report": ("herbray.flow.study.report_job", "Report", "report", "Draw the results as one HTML page."),
    "suspects": (
        "herbray.flow.evaluation.suspects",
        "Suspects",
        "suspects",
        "List sheets that may be filed under a wrong name.",
    ),
    "review": (
        "herbray.flow.review.job",
        "Review",
        "review",
        "Write a page on which curators judge the suspects, and save their verdicts.",
    ),
    "search": (
        "herbray.flow.search.job",
        "Search",
        "search",
        "Find the sheets that look most like an image or a specimen.",
    ),
    "identify": (
        "herbray.flow.naming.job",
        "Naming",
        "identify",
        "Suggest names for sheets without a name, or for photographs, with calibrated confidence.",
    ),
    "export": (
        "herbray.flow.export",
        "Export",
        "export",
        "Write suspects and verdicts in the forms that collection systems load.",
    ),
    "study": (
        "herbray.flow.study.job",
        "Study",
        "study",
        "Run all stages, for each objective, start weights and seed.",
    ),
    "demo": ("herbray.flow.study.job", "Study", "study", "Run all stages on a synthetic herbarium, within minutes."),
    "benchmark": (
        "herbray.benchmark.job",
        "Benchmark",
        "benchmark",
        "Compare herbray with other libraries.",
    ),
    "plan": (
        "herbray.sizing.job",
        "Plan",
        "plan",
        "Print what each verb will need on a cluster, how long it will take, and what limits it.",
    ),
    "doctor": (
        "herbray.flow.doctor.job",
        "Doctor",
        "doctor",
        "Check this machine and its cluster, and suggest remedies.",
    ),
}
"""Verb → module, name of its Spec, name of its function, help. Imported on use, so that `--help` is fast."""
