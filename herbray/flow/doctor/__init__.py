"""Checks that a machine, a cluster and a tracking server are ready."""
