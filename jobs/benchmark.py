"""`ray job submit … -- python jobs/benchmark.py NAME key=value`: the CLI verb, nothing else."""

import sys

from herbray.cli import main

if __name__ == "__main__":
    main(["benchmark", *sys.argv[1:]])
