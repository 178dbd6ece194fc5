"""Requests to object stores, through `pyarrow.fs`. The only module that makes them.

Credentials come from the usual chain of the store's own library: environment, profile, workload identity.
"""

import functools
import os
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from herbray.storage.address import Place
from herbray.storage.errors import StoreRefused, StoreUnreachable, describe_absent, explain_errors
from herbray.storage.usage import count

if TYPE_CHECKING:  # imported where it is used: most commands need no store
    import pyarrow.fs as pafs

CHUNK: Final = 32 << 20
"""Bytes of one request when an object is fetched."""

_CONNECT_S: Final = 5.0
_REQUEST_S: Final = 30.0  # without a byte

T = TypeVar("T")


class Info(NamedTuple):
    """An object: its place, its size in bytes, and when it was written, by the store's clock, in ns since 1970."""

    place: Place
    size: int
    written_ns: int


@functools.cache
def filesystem(scheme: str, bucket: str) -> "pafs.FileSystem":
    """The file system of a bucket, made once per process."""
    import pyarrow.fs as pafs

    if scheme == "gs":
        return pafs.GcsFileSystem()
    endpoint = urllib.parse.urlsplit(os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or "")
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    settings: dict[str, Any] = {"connect_timeout": _CONNECT_S, "request_timeout": _REQUEST_S}
    if endpoint.netloc:
        settings |= {"endpoint_override": endpoint.netloc + endpoint.path.rstrip("/"), "scheme": endpoint.scheme}
        region = region or "us-east-1"
    with explain_errors(Place(scheme, bucket, "")):
        region = region or pafs.resolve_s3_region(bucket)
    return pafs.S3FileSystem(region=region, allow_delayed_open=True, **settings)


def check_bucket(place: Place) -> None:
    """Check that a bucket exists and answers.

    Raises:
        StoreRefused: no such bucket, no permission, or another region.
        StoreUnreachable: no answer.
    """
    root = Place(place.scheme, place.bucket, "")
    if _ask(root, lambda fs: fs.get_file_info(root.path)).type.name == "NotFound":
        raise StoreRefused(describe_absent(root))


def find(place: Place) -> Info | None:
    """An object; None if there is none of this name."""
    found = _ask(place, lambda fs: fs.get_file_info(place.path))
    return _info(place, found) if found.is_file else None


def list_objects(place: Place) -> list[Info]:
    """The objects below a prefix, sorted by key."""
    return sorted(_info(_place_at(place, each.path), each) for each in _list(place, recursive=True) if each.is_file)


def list_level(place: Place) -> tuple[list[Info], list[Place]]:
    """The objects and the further prefixes directly below a prefix."""
    found = _list(place, recursive=False)
    files = [_info(_place_at(place, each.path), each) for each in found if each.is_file]
    return files, [_place_at(place, each.path) for each in found if not each.is_file]


def _list(place: Place, recursive: bool) -> list[Any]:
    import pyarrow.fs as pafs

    selector = pafs.FileSelector(place.path, allow_not_found=True, recursive=recursive)
    found: list[Any] = _ask(place, lambda fs: fs.get_file_info(selector))
    return found


def _place_at(place: Place, path: str) -> Place:
    return Place(place.scheme, place.bucket, path.removeprefix(f"{place.bucket}/"))


def _info(place: Place, found: Any) -> Info:  # noqa: ANN401  (a FileInfo of pyarrow)
    return Info(place, int(found.size or 0), int(found.mtime_ns or 0))


def open_object(place: Place) -> tuple[Any, str]:
    """Open an object for random access; returns the file, and the version of its content.

    Raises:
        FileNotFoundError: no such object.
    """

    def opened(fs: "pafs.FileSystem") -> tuple[Any, str]:
        file = fs.open_input_file(place.path)
        facts = file.metadata() or {}
        tag = facts.get(b"ETag") or facts.get("ETag") or b""
        if not tag:  # a store without tags: the time of writing tells versions apart
            tag = str(fs.get_file_info(place.path).mtime_ns).encode()
        return file, tag.decode() if isinstance(tag, bytes) else str(tag)

    return _ask(place, opened)


def read_chunks(place: Place, file: Any) -> Iterator[bytes]:  # noqa: ANN401  (a NativeFile of pyarrow)
    """The content of an open object, in parts of `CHUNK` bytes."""
    left = int(file.size())
    while left:
        data = _ask(place, functools.partial(_read_part, file, min(CHUNK, left)))
        if not data:
            raise StoreUnreachable(f"{place}: the store sent {left:,} bytes less than the object has")
        count(bytes_fetched=len(data))
        left -= len(data)
        yield data


def _read_part(file: Any, size: int, fs: "pafs.FileSystem") -> bytes:  # noqa: ANN401
    data: bytes = file.read(size)
    return data


def read_object(place: Place, limit: int | None = None) -> bytes:
    """The content of an object, or its first `limit` bytes; it is not kept.

    Raises:
        FileNotFoundError: no such object.
    """
    with open_object(place)[0] as file:
        size = min(int(file.size()), limit or int(file.size()))
        data: bytes = _ask(place, lambda fs: file.read(size)) if size else b""
    count(bytes_fetched=len(data))
    return data


def put_file(place: Place, source: Path) -> str:
    """Write a local file as an object: readers see all of it or nothing. Returns the version.

    Raises:
        StoreUnreachable: the store does not answer, or holds another size than was sent.
        StoreRefused: the store refuses.
    """
    size = source.stat().st_size
    _in_thread(lambda: _ask(place, lambda fs: _send(fs, place, source)))
    file, version = open_object(place)
    with file:
        if int(file.size()) != size:
            delete(place)
            raise StoreUnreachable(f"{place}: the store holds {int(file.size()):,} of {size:,} bytes that were sent")
    count(bytes_sent=size)
    return version


def put_bytes(place: Place, data: bytes) -> None:
    """Write a small object."""

    def send(fs: "pafs.FileSystem") -> None:
        with fs.open_output_stream(place.path) as sink:
            sink.write(data)

    _in_thread(lambda: _ask(place, send))
    count(bytes_sent=len(data))


def _send(fs: "pafs.FileSystem", place: Place, source: Path) -> None:
    with source.open("rb") as file, fs.open_output_stream(place.path) as sink:
        while data := file.read(CHUNK):
            sink.write(data)


def _in_thread(work: Callable[[], T]) -> T:
    """Call a function in a thread: a signal must not interrupt an upload, which would then end with half the object."""
    found: list[T] = []
    errors: list[BaseException] = []

    def call() -> None:
        try:
            found.append(work())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=call, name="herbray-upload")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return found[0]


def delete(place: Place) -> None:
    """Delete an object, if there is one."""

    def remove(fs: "pafs.FileSystem") -> None:
        try:
            fs.delete_file(place.path)
        except FileNotFoundError:
            return

    _ask(place, remove)


def delete_all(place: Place) -> None:
    """Delete every object below a prefix."""

    def remove(fs: "pafs.FileSystem") -> None:
        try:
            fs.delete_dir(place.path)
        except FileNotFoundError:
            return

    _ask(place, remove)


def _ask(place: Place, request: Callable[["pafs.FileSystem"], T]) -> T:
    fs = filesystem(place.scheme, place.bucket)
    count(requests=1)
    with explain_errors(place):
        return request(fs)
