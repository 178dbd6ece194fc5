"""Encoders, the objectives that train them, and the files that hold them. Torch only: no Ray, no MLflow, no tables."""
