"""Checks whether this machine, the cluster and the tracking server are ready for jobs."""
