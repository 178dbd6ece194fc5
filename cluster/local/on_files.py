"""Runs steps of the rehearsal on local files: no cluster but that which herbray starts itself, no tracking server.

python on_files.py '{"catalogue": ["source.sheets=300"], "shard": […], "train": […]}'
"""

import json
import sys
from pathlib import Path

from herbray import cli, config
from herbray.flow.cluster import connection
from herbray.flow.training.job import fit
from herbray.flow.training.specification import Train

JOBS = Path(__file__).parents[2] / "jobs"


def main() -> None:
    """The encoder is trained, not registered."""
    with connection.connect(cpus=4):
        for verb, words in json.loads(sys.argv[1]).items():
            if verb == "train":
                fit(config.load(Train, JOBS / "train.yaml", words))
            elif code := cli.run(verb, JOBS / f"{verb}.yaml", words):
                sys.exit(code)


if __name__ == "__main__":
    main()
