"""Sweeps: many trainings of one search space on one cluster."""
