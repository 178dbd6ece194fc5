"""Removes secrets from texts that others will read: messages, settings, cards, parameters of a run."""

import os
import re
from typing import Final

SECRET_VARIABLES: Final = (
    "RAY_AUTH_TOKEN",
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_TOKEN",
    "MLFLOW_AUTH_ADMIN_PASSWORD",
    "MLFLOW_FLASK_SERVER_SECRET_KEY",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
)
"""Environment variables whose values are never shown."""

MASK: Final = "***"
"""Replaces a secret."""

_SHORTEST: Final = 6  # length of a value to search for: "" and "x" occur in every text
_CREDENTIALS: Final = re.compile(  # `Path` removes one of the two slashes
    r"(?P<scheme>\b[A-Za-z][A-Za-z0-9+.\-]*:(?://(?=[^\s/@'\"<>]+@)|/(?=[^\s/@'\"<>:]*:[^\s/@'\"<>]*@)))[^\s/@'\"<>]+@"
)
_SECRET_PARAMETER: Final = re.compile(
    r"(?P<name>[?&][\w\-.]*(?:password|passwd|secret|token|signature|credential|api[_-]?key|access[_-]?key|\bsig))"
    r"=[^&\s'\"<>#]+",
    re.IGNORECASE,
)


def redact(text: str) -> str:
    """Replace everything in a text that looks like a secret.

    Names and passwords in URLs (`http://name:password@host`), values of query parameters such as `?token=…` (signed
    URLs), and the values of `SECRET_VARIABLES` are hidden. A password on its own cannot be recognized: do not put one
    into a setting.
    """
    for name in SECRET_VARIABLES:
        value = os.environ.get(name, "")
        if len(value) >= _SHORTEST:
            text = text.replace(value, MASK)
    return _SECRET_PARAMETER.sub(rf"\g<name>={MASK}", _CREDENTIALS.sub(rf"\g<scheme>{MASK}@", text))
