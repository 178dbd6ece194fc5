"""Naming: named sheets teach, sheets without a name and photographs get suggestions."""
