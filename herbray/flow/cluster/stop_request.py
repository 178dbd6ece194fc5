"""A request to stop from the driver of a job to its workers, through the key-value store of the cluster's head."""

import contextlib
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

import ray
from ray.experimental import internal_kv

_LOOK_S: Final = 1.0
"""Seconds between looks of a worker; a look takes a millisecond."""


@dataclass
class StopRequest:
    """A request that any process of the cluster can see; each command makes its own.

    Attributes:
        key: in the key-value store.
    """

    key: str = field(default_factory=lambda: f"herbray-stop-{secrets.token_hex(8)}")
    _looked: float = 0.0
    _is_sent: bool = False

    @contextmanager
    def until_end(self) -> Iterator[None]:
        """Remove the request at the end of the body, when no worker needs it any more."""
        try:
            yield
        finally:
            with contextlib.suppress(Exception):  # the head may be gone; an error of the body says more
                internal_kv._internal_kv_del(self.key)

    def send(self) -> None:
        """Ask the workers to stop."""
        internal_kv._internal_kv_put(self.key, b"1")

    def is_sent(self) -> bool:
        """Whether the driver has asked; looks at most once per second. While the head is away, nobody has asked."""
        if not self._is_sent and time.monotonic() - self._looked >= _LOOK_S:
            with contextlib.suppress(ray.exceptions.RayError):
                self._is_sent = internal_kv._internal_kv_exists(self.key)
            self._looked = time.monotonic()
        return self._is_sent
