"""Files and folders on the disk or in a bucket: whether they exist, what is in them, how they are removed and renamed.

Every function takes a path; one that stands for an address (`herbray.storage.address`) is looked up in its store.
"""

import os
import shutil
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from herbray.storage import cache, store
from herbray.storage.address import AddressRefused, Place, cache_of, is_remote, path_of, place_of
from herbray.storage.room import prepare_cache


def check_buckets(paths: Iterable[Path]) -> None:
    """Check that the buckets of some paths exist and answer.

    Raises:
        StoreRefused: there is no such bucket, or its store refuses.
        StoreUnreachable: a store does not answer.
    """
    places = filter(None, map(place_of, paths))
    for place in sorted({Place(each.scheme, each.bucket, "") for each in places}):
        store.check_bucket(place)


def exists(path: Path) -> bool:
    """Whether there is a file, or a folder that holds a file."""
    place = place_of(path)
    if place is None:
        return path.exists()
    return is_file(path) or bool(store.list_objects(place))


def is_file(path: Path) -> bool:
    """Whether there is such a file."""
    place = place_of(path)
    return path.is_file() if place is None else store.find(place) is not None


def is_folder(path: Path) -> bool:
    """Whether there is such a folder; in a bucket, whether it holds a file."""
    place = place_of(path)
    return path.is_dir() if place is None else bool(store.list_objects(place))


def file_sizes(folder: Path) -> dict[Path, int]:
    """The files in a folder and its subfolders, with their sizes in bytes, sorted."""
    place = place_of(folder)
    if place is None:
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        return {path: path.stat().st_size for path in files}
    return {_path_at(folder, place, each.place): each.size for each in store.list_objects(place)}


def glob(folder: Path, pattern: str) -> list[Path]:
    """The files and folders below a folder that match a pattern, sorted.

    Args:
        folder: where to look.
        pattern: as of `Path.glob`, without `**`.
    """
    place = place_of(folder)
    if place is None:
        return sorted(folder.glob(pattern))
    depth = pattern.count("/")
    inside: set[PurePosixPath] = set()
    for each in store.list_objects(place):
        name = PurePosixPath(_relative(place, each.place))
        inside |= {name, *name.parents} - {PurePosixPath(".")}
    found = (name for name in inside if len(name.parts) == depth + 1 and name.match(pattern))
    return sorted(folder / name for name in found if not name.name.startswith("."))


def make_folder(folder: Path) -> None:
    """Make a folder; a bucket needs none, but the working files beside its copies do.

    Raises:
        OSError: the disk is full, or the parent is not writable.
    """
    if is_remote(folder):
        prepare_cache(cache_of(folder))
    folder.mkdir(parents=True, exist_ok=True)


def remove(path: Path) -> None:
    """Remove a file, if there is one."""
    place = place_of(path)
    if place is None:
        path.unlink(missing_ok=True)
        return
    store.delete(place)
    cache.forget(path)


def remove_folder(folder: Path, first: str | None = None) -> None:
    """Remove a folder with everything in it, if there is one; errors of the disk are ignored.

    Args:
        folder: to remove.
        first: name of the file without which the folder is not complete; in a bucket it is removed first.
    """
    place = place_of(folder)
    if place is not None:
        if first is not None:
            remove(folder / first)
        store.delete_all(place)
        for path in _local_files(folder):
            cache.forget(path)
    shutil.rmtree(folder, ignore_errors=True)


def rename(path: Path, target: Path) -> None:
    """Give a file another name, replacing one that is there. In a bucket, it is written again and then removed."""
    if not is_remote(path):
        path.replace(target)
        return
    copy = target.with_name(f".{target.name}.{os.getpid()}.copy")
    shutil.copyfile(cache.fetch(path), copy)
    cache.publish(copy, target)
    remove(path)


def fetch_folder(folder: Path) -> Path:
    """Make the local copies of all files in a folder current, and remove others; a path of this machine stays.

    Raises:
        FileNotFoundError: an object was removed meanwhile.
        OSError: the store does not answer, or the cache's disk is full.
    """
    place = place_of(folder)
    if place is None:
        return folder
    files = [_path_at(folder, place, each.place) for each in store.list_objects(place)]
    for path in set(_local_files(folder)) - set(files):
        cache.forget(path)
    for path in files:
        cache.fetch(path)
    return folder


def fetch_any(path: Path) -> Path:
    """`fetch_folder`, or `cache.fetch` if the path is a file's."""
    place = place_of(path)
    if place is None:
        return path
    return cache.fetch(path) if store.find(place) else fetch_folder(path)


def publish_folder(source: Path, folder: Path, last: str | None = None) -> None:
    """Put a finished local folder into place, replacing one that is there.

    Args:
        source: the local folder; it disappears.
        folder: its place.
        last: name of the files without which a folder is not complete: removed first and written last.
    """
    if not is_remote(folder):
        former = folder.with_name(f".{folder.name}.{os.getpid()}.former")
        if folder.exists():
            folder.replace(former)
        source.replace(folder)
        shutil.rmtree(former, ignore_errors=True)
        return
    remove_folder(folder, first=last)
    for path in sorted(_local_files(source), key=lambda path: (path.name == last, path)):
        target = folder / path.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        cache.publish(path, target)
    shutil.rmtree(source, ignore_errors=True)


def share_folder(folder: Path, last: str) -> None:
    """Write the local files of a folder into its bucket, unless they are there; other nodes can then fetch them."""
    place = place_of(folder)
    if place is None:
        return
    there = file_sizes(folder)
    for path in sorted(_local_files(folder), key=lambda path: (path.name == last, path)):
        if there.get(path) != path.stat().st_size:
            copy = path.with_name(f".{path.name}.{os.getpid()}.copy")
            shutil.copyfile(path, copy)
            cache.publish(copy, path)


def read_bytes(path: Path) -> bytes:
    """The content of a file."""
    return cache.fetch(path).read_bytes()


def read_object(address: str, limit: int) -> bytes:
    """The content of an object that is read once, or its first `limit` bytes; no copy is kept.

    Raises:
        AddressRefused: the address cannot be used.
        FileNotFoundError: there is no such object.
        OSError: the store does not answer.
    """
    place = place_of(path_of(address))
    return store.read_object(place, limit) if place else path_of(address).read_bytes()[:limit]


def list_names(address: str) -> tuple[frozenset[str], frozenset[str]]:
    """The names of the objects and of the further prefixes directly below an address."""
    place = place_of(path_of(address))
    if place is None:
        raise AddressRefused(f"{address} is the address of no bucket")
    files, folders = store.list_level(place)
    return frozenset(_relative(place, each.place) for each in files), frozenset(_relative(place, f) for f in folders)


def write_object(path: Path, data: bytes) -> None:
    """Write an object of which no copy is kept."""
    if (place := place_of(path)) is None:
        raise ValueError(f"{path} stands for no address")
    store.put_bytes(place, data)


def _local_files(folder: Path) -> Iterable[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")]


def _relative(place: Place, inner: Place) -> str:
    return inner.key.removeprefix(f"{place.key}/") if place.key else inner.key


def _path_at(folder: Path, place: Place, inner: Place) -> Path:
    return folder / _relative(place, inner)
