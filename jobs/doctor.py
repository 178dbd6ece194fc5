"""`ray job submit … -- python jobs/doctor.py jobs/doctor.yaml key=value`: the CLI verb, nothing else."""

import sys

from herbray.cli import main

if __name__ == "__main__":
    main(["doctor", *sys.argv[1:]])
