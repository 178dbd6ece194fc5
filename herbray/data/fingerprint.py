"""Fingerprints of settings and tables' descriptions."""

import hashlib
import json


def fingerprint_json(*parts: object) -> str:
    """Hash values that can be written as JSON; other values count as their `str`.

    Returns:
        The first 16 hexadecimal digits of the SHA-256 of the canonical JSON text; stable across runs and machines.
    """
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
