"""Studies: objectives, start weights and seeds in one job, and the report."""
