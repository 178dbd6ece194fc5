"""Evaluation: tasks on embeddings, comparisons of encoders, and promotion."""
