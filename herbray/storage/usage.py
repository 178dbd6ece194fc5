"""How much this process has used object stores."""

import logging
import threading
from collections import Counter
from typing import Final

_LOCK: Final = threading.Lock()
_COUNTS: Final[Counter[str]] = Counter()


def count(**more: int) -> None:
    """Add to the counts: `requests`, `fetched` and `hits` (objects), `bytes_fetched`, `bytes_sent`."""
    with _LOCK:
        _COUNTS.update(more)


def log_usage(line: str) -> None:
    """Log a line that is shown to the user even if a worker on another node logs it."""
    logging.getLogger(__name__).info(line)


def read_usage() -> dict[str, int]:
    """The counts so far."""
    with _LOCK:
        return dict(_COUNTS)


def describe_usage(before: dict[str, int] | None = None) -> str:
    """One line about what has been used, since the counts `before` were read; "" if nothing."""
    used = Counter(read_usage())
    used.subtract(before or {})
    if not used["requests"]:
        return ""
    return (
        f"object store: {used['requests']:,} requests; {used['fetched']:,} objects fetched "
        f"({used['bytes_fetched'] / 1e6:,.1f} MB), {used['hits']:,} read from the cache; "
        f"{used['bytes_sent'] / 1e6:,.1f} MB sent"
    )
