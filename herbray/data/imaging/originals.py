"""Original image files, wherever they lie: in a folder, in a zip file or in an object store."""

from pathlib import Path
from typing import Final

from herbray import storage
from herbray.data.imaging.zip_member import read_member, split_member

MAX_BYTES: Final = 512 * 2**20
"""Largest file that is read; a 600 dpi sheet of 140 megapixels as TIFF has about 420 MB."""

ADDRESS_REMEDY: Final = (
    "run `herbray fetch` first, which asks their servers for them, and set images of the shard job to its out; or put "
    "your own files into a folder, set source.images of the catalogue to it, and run `herbray catalogue` again"
)
"""What to do about images on the web."""


class ImageRefused(ValueError):
    """An image that cannot become a row of a shard.

    Attributes:
        reason: a short stable code for the quarantine table.
    """

    def __init__(self, reason: str, detail: str) -> None:
        """Store the code in addition to the message."""
        super().__init__(detail)
        self.reason = reason


def read_bytes(image: str) -> bytes:
    """Read the image of a specimen: a file, a member of a zip file (`zip_member`), or an object in a store.

    Raises:
        ImageRefused: the file is missing, empty, larger than `MAX_BYTES`, or unreadable; or on the web.
        ConnectionError: the store does not answer.
    """
    if is_on_web(image):
        raise ImageRefused("address", f"the image is at an address on the web; {ADDRESS_REMEDY}")
    if storage.is_address(image):
        data = _read_object(image)
    elif (member := split_member(image)) is not None:
        data = _read_zipped(*member)
    else:
        data = _read_file(Path(image))
    if not data:
        raise ImageRefused("empty", "the file has zero bytes")
    return data


def is_on_web(image: str) -> bool:
    """Whether an image is on the web, from where only `herbray fetch` takes it."""
    return image.lower().startswith(("http://", "https://"))


def _read_file(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if not path.is_file():
            raise ImageRefused("missing", "the path is not a file")
        if size > MAX_BYTES:
            raise ImageRefused("too-large", f"the file has {size:,} bytes; at most {MAX_BYTES:,} are read")
        return path.read_bytes()
    except FileNotFoundError:
        raise ImageRefused("missing", "no such file") from None
    except OSError as error:
        raise ImageRefused("unreadable", f"the file cannot be read: {error.strerror}") from None


def _read_zipped(archive: str, name: str) -> bytes:
    try:
        return read_member(archive, name, MAX_BYTES)
    except KeyError:
        raise ImageRefused("missing", f"{archive} has no member of this name") from None
    except OverflowError as error:
        raise ImageRefused("too-large", f"the file has {error}; at most {MAX_BYTES:,} are read") from None
    except OSError as error:
        raise ImageRefused("unreadable", f"the file cannot be read: {error.strerror}") from None


def _read_object(image: str) -> bytes:
    try:
        data = storage.read_object(image, MAX_BYTES + 1)
    except FileNotFoundError:
        raise ImageRefused("missing", "no such object") from None
    except storage.AddressRefused as error:
        raise ImageRefused("address", str(error)) from None
    if len(data) > MAX_BYTES:
        raise ImageRefused("too-large", f"the object has more than {MAX_BYTES:,} bytes")
    return data
