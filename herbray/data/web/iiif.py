"""IIIF Image API 1.1 to 3.0: from `info.json`, the address of the smallest image that serves.

https://iiif.io/api/image/3.0/ and its earlier versions.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

_REQUEST: Final = re.compile(
    r"(?P<base>https?://.+)/(?P<region>full)/(?:full|max|\^max|\^?\d*,\d*|\^?!\d+,\d+|\^?pct:[\d.]+)/0(?:\.0+)?"
    r"/(?P<quality>default|native|color|colour)\.(?:jpe?g|png|tiff?|webp)",
    re.I,
)
_INFO: Final = re.compile(r"(?P<base>https?://.+)/info\.json", re.I)
_LEVEL: Final = re.compile(r"level([012])(?:\.json)?$")
_MAX_SIDE: Final = 10**6  # pixels; more is a mistake


class NotAnImage(ValueError):
    """The description is not that of a IIIF image."""


def find_base(address: str) -> str | None:
    """The base of a IIIF image: of a request for the whole image, upright and in colour, or of its `info.json`.

    A request for a part of an image is left as the publisher wrote it.
    """
    match = _REQUEST.fullmatch(address) or _INFO.fullmatch(address)
    return match["base"] if match else None


def is_info(address: str) -> bool:
    """Whether an address is that of a description, not of an image."""
    return bool(_INFO.fullmatch(address))


def choose_request(data: bytes, base: str, side: int) -> str:
    """The address of the smallest image whose short side has at least `side` pixels, else of the largest there is.

    Args:
        data: content of `info.json`.
        base: address of the image, without its last part.
        side: pixels.

    Raises:
        NotAnImage: the description is damaged, or of something else.
    """
    info = _read_info(data)
    version = _read_version(info)
    size = _choose_size(info, version, side)
    return f"{base}/full/{size}/0/{'native' if version == 1 else 'default'}.jpg"


def _choose_size(info: Mapping[str, Any], version: int, side: int) -> str:
    width, height = _read_side(info.get("width")), _read_side(info.get("height"))
    if not width or not height:
        raise NotAnImage("the description has no width and height")
    largest = "max" if version == 3 else "full"
    wanted, most = side / min(width, height), _largest_scale(info, width, height)
    smallest = min((size for size in _list_sizes(info) if min(size) >= side and size[0] <= width), default=None)
    if smallest:
        return f"{smallest[0]},{smallest[1]}"
    if not _scales_freely(info) or min(wanted, most) >= 1:
        return largest
    return f"{math.ceil(width * wanted)}," if wanted <= most else f"{math.floor(width * most)},"


def _largest_scale(info: Mapping[str, Any], width: int, height: int) -> float:
    """The reduction that the server's limits ask for."""
    most_wide = _read_side(_find_limit(info, "maxWidth"))
    most_high = _read_side(_find_limit(info, "maxHeight")) or most_wide
    area = _find_limit(info, "maxArea")
    scales = [most / side for most, side in ((most_wide, width), (most_high, height)) if most]
    if isinstance(area, int) and not isinstance(area, bool) and area > 0:
        scales.append(math.sqrt(area / (width * height)))
    return min(scales, default=1.0)


def _find_limit(info: Mapping[str, Any], name: str) -> Any:  # noqa: ANN401  (any JSON)
    """A limit of the server: a property of the description, in version 2 of its profile."""
    return next((each[name] for each in (info, *_profiles(info)) if isinstance(each, Mapping) and name in each), None)


def _profiles(info: Mapping[str, Any]) -> list[Any]:
    found = info.get("profile")
    return found if isinstance(found, list) else [found]


def _scales_freely(info: Mapping[str, Any]) -> bool:
    """Whether the server makes images of any width: level 1 and 2, or the feature `sizeByW`."""
    levels = [match[1] for each in _profiles(info) if isinstance(each, str) and (match := _LEVEL.search(each))]
    features = [
        info.get("extraFeatures"),
        *(each.get("supports") for each in _profiles(info) if isinstance(each, dict)),
    ]
    return any(level != "0" for level in levels) or any(
        isinstance(each, list) and "sizeByW" in each for each in features
    )


def _list_sizes(info: Mapping[str, Any]) -> Iterator[tuple[int, int]]:
    sizes = info.get("sizes")
    for each in sizes if isinstance(sizes, list) else ():
        if isinstance(each, Mapping):
            width, height = _read_side(each.get("width")), _read_side(each.get("height"))
            if width and height:
                yield width, height


def _read_side(value: Any) -> int:  # noqa: ANN401  (any JSON)
    """Pixels; 0 if the value is no number of pixels."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= _MAX_SIDE else 0


def _read_info(data: bytes) -> Mapping[str, Any]:
    try:
        info = json.loads(data)
    except (ValueError, RecursionError):
        raise NotAnImage("info.json is not JSON") from None
    if not isinstance(info, dict):
        raise NotAnImage("info.json is not a JSON object")
    return info


def _read_version(info: Mapping[str, Any]) -> int:
    contexts = info.get("@context")
    text = " ".join(map(str, contexts)) if isinstance(contexts, list) else str(contexts)
    if match := re.search(r"/image/([123])/context\.json", text):
        return int(match[1])
    return 1 if "image-api/1.1" in text or "1.1" in str(_profiles(info)[0]) else 2
