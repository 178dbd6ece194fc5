"""Secrets out of texts that others will read: messages, settings, cards, parameters of a run."""

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
"""Variables of the environment whose values are never shown."""

MASK: Final = "***"

_SHORTEST: Final = 6  # of a value that is searched for: "" and "x" stand in every text
_CREDENTIALS: Final = re.compile(  # a path takes one of the two slashes away
    r"(?P<scheme>\b[A-Za-z][A-Za-z0-9+.\-]*:(?://(?=[^\s/@'\"<>]+@)|/(?=[^\s/@'\"<>:]*:[^\s/@'\"<>]*@)))[^\s/@'\"<>]+@"
)
_SECRET_PARAMETER: Final = re.compile(
    r"(?P<name>[?&][\w\-.]*(?:password|passwd|secret|token|signature|credential|api[_-]?key|access[_-]?key|\bsig))"
    r"=[^&\s'\"<>#]+",
    re.IGNORECASE,
)


def redact(text: str) -> str:
    """`text` without what looks secret in it.

    Hidden are names and passwords in addresses (`http://name:password@host`), values of telling query parameters
    (`?token=…`, as in signed addresses), and the present values of `SECRET_VARIABLES`. A password on its own looks like nothing
    in particular and cannot be told: do not put one into a setting.
    """
    for name in SECRET_VARIABLES:
        value = os.environ.get(name, "")
        if len(value) >= _SHORTEST:
            text = text.replace(value, MASK)
    return _SECRET_PARAMETER.sub(rf"\g<name>={MASK}", _CREDENTIALS.sub(rf"\g<scheme>{MASK}@", text))
