"""Plans, made from names alone: which rows are in which file, window and batch."""
