"""What every task reads and gives: embeddings, results, outcomes."""
