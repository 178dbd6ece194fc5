"""Errors of object stores, and what they mean for the user."""

import errno
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from herbray.storage.address import Place

_ABSENT: Final = ("NO_SUCH_BUCKET", "NoSuchBucket")
_REGION: Final = ("PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraint", "HTTP status 301")
_CLOCK: Final = ("RequestTimeTooSkewed", "REQUEST_TIME_TOO_SKEWED")
_DENIED: Final = (
    *("ACCESS_DENIED", "AccessDenied", "INVALID_ACCESS_KEY_ID", "InvalidAccessKeyId", "SIGNATURE_DOES_NOT_MATCH"),
    *("SignatureDoesNotMatch", "UNRECOGNIZED_CLIENT", "InvalidClientTokenId", "MISSING_AUTHENTICATION_TOKEN"),
    *("ExpiredToken", "EXPIRED_TOKEN", "HTTP status 401", "HTTP status 403", "InvalidToken"),
)
_SILENT: Final = (
    *("NETWORK_CONNECTION", "curlCode", "timed out", "Timeout", "SLOW_DOWN", "SlowDown", "SERVICE_UNAVAILABLE"),
    *("INTERNAL_FAILURE", "THROTTLING", "REQUEST_TIMEOUT", "HTTP status 5", "Could not connect", "UNKNOWN"),
)


class StoreRefused(ValueError):
    """An object store answers, but refuses: no such bucket, no permission, another region."""


class StoreUnreachable(ConnectionError):
    """An object store does not answer: running the same command again later may help."""

    def __init__(self, message: str) -> None:
        """The number is that of an error of the network: storage that answers again can be read again."""
        super().__init__(errno.EHOSTUNREACH, message)

    def __reduce__(self) -> tuple[Any, ...]:
        """Errors travel between processes."""
        return type(self), (str(self.strerror),)

    def __str__(self) -> str:
        """The message alone."""
        return str(self.strerror)


@contextmanager
def explain_errors(place: Place) -> Iterator[None]:
    """Turn errors of the store into those that say what to do."""
    try:
        yield
    except FileNotFoundError:
        raise FileNotFoundError(errno.ENOENT, "no such object", str(place)) from None
    except OSError as error:
        if error.errno is not None:  # of the local disk
            raise
        raise _explain(str(error), place) from None


def explain_error(error: BaseException, place: Place | None) -> Exception | None:
    """What an error says that Arrow raised while it read an object; None if it is no error of a store."""
    text = str(error)
    return _explain(text, place) if place and ("AWS Error" in text or "curlCode" in text) else None


def _explain(text: str, place: Place) -> Exception:
    line = _shorten(text)
    if any(word in text for word in _REGION):
        return StoreRefused(
            f"{place}: the bucket is in another region than this job asks ({line}): set AWS_REGION to the bucket's "
            "region, or leave it unset"
        )
    if any(word in text for word in _CLOCK):
        return StoreRefused(f"{place}: the clock of this machine is wrong by minutes ({line}): set it, e.g. by NTP")
    if any(word in text for word in _ABSENT):
        return StoreRefused(describe_absent(place))
    if any(word in text for word in _DENIED):
        return StoreRefused(
            f"{place}: the store refuses ({line}): check the credentials in the environment or the profile, and what "
            "they may do in this bucket"
        )
    if any(word in text for word in _SILENT):
        return StoreUnreachable(f"{place}: the store does not answer {socket.gethostname()} ({line})")
    return StoreRefused(f"{place}: {line}")


def describe_absent(place: Place) -> str:
    """The message for a bucket that does not exist."""
    return f"{place.scheme}://{place.bucket}: no such bucket: create it, or correct the address"


def _shorten(text: str) -> str:
    """The cause in an error of pyarrow, without the part that names the object."""
    cause = text[text.find("AWS Error") :] if "AWS Error" in text else text
    return re.sub(r" \(Request ID.*", "", " ".join(cause.split()))[:160]
