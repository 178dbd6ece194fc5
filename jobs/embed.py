"""`ray job submit … -- python jobs/embed.py jobs/embed.yaml key=value`: the CLI verb, nothing else."""

import sys

from herbray.cli import main

if __name__ == "__main__":
    main(["embed", *sys.argv[1:]])
