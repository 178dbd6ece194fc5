import json

import pytest

from herbray.data.web.iiif import NotAnImage, choose_request, find_base, is_info

V2 = {"@context": "http://iiif.io/api/image/2/context.json", "width": 6000, "height": 9000}
V3 = V2 | {"@context": ["x", "http://iiif.io/api/image/3/context.json"]}
LEVEL = "http://iiif.io/api/image/2/level{}.json"
SIZES = [{"width": width, "height": width * 3 // 2} for width in (1500, 375, 750)]


def size(info, side=512):
    address = choose_request(json.dumps(info).encode(), "https://h/iiif/K1", side)
    assert address.startswith("https://h/iiif/K1/full/")
    return address.removeprefix("https://h/iiif/K1/full/").split("/")[0]


@pytest.mark.parametrize(
    ("info", "expected"),
    [
        (V2 | {"profile": [LEVEL.format(1)]}, "512,"),
        (V2 | {"profile": [LEVEL.format(0)]}, "full"),
        (V2 | {"profile": [LEVEL.format(0)], "sizes": SIZES}, "750,1125"),
        (V2 | {"profile": [LEVEL.format(2)], "sizes": SIZES[:1]}, "1500,2250"),
        (V2 | {"profile": [LEVEL.format(0), {"supports": ["sizeByW"]}]}, "512,"),
        (V2 | {"profile": [LEVEL.format(2), {"maxWidth": 450}]}, "300,"),
        (V3 | {"profile": "level2", "maxArea": 60_000}, "200,"),
        (V3 | {"profile": "level0", "sizes": SIZES[1:2]}, "max"),
        (V3 | {"profile": "level0", "extraFeatures": ["sizeByW"]}, "512,"),
        (V3 | {"profile": "level2", "width": 300, "height": 400}, "max"),
        (V3 | {"profile": "level1", "width": 9000, "height": 6000}, "768,"),
        (V3 | {"sizes": [{"width": "750"}, 7, {"width": -1, "height": 0}], "profile": 5}, "max"),
    ],
)
def test_the_smallest_size_that_serves_is_asked_for(info, expected):
    assert size(info) == expected


def test_version_1_has_its_own_quality():
    context = "http://library.stanford.edu/iiif/image-api/1.1/context.json"
    profile = "http://library.stanford.edu/iiif/image-api/1.1/compliance.html#level1"
    info = V2 | {"@context": context, "profile": profile}
    assert choose_request(json.dumps(info).encode(), "https://h/K1", 512) == "https://h/K1/full/512,/0/native.jpg"


@pytest.mark.parametrize(
    "data", [b"", b"<html>", b"[]", b"{}", b'{"width": true, "height": 9}', b'{"width": 1e9, "height": 1}', b"[" * 9999]
)
def test_what_describes_no_image_is_refused(data):
    with pytest.raises(NotAnImage):
        choose_request(data, "https://h/K1", 512)


@pytest.mark.parametrize(
    ("address", "base"),
    [
        ("https://h/iiif/2/K1/full/max/0/default.jpg", "https://h/iiif/2/K1"),
        ("https://h/iiif/a%2Fb/full/!800,800/0/default.jpg", "https://h/iiif/a%2Fb"),
        ("http://h/K1/full/pct:25/0/native.png", "http://h/K1"),
        ("https://h/K1/info.json", "https://h/K1"),
        ("https://h/K1/0,0,90,90/max/0/default.jpg", None),
        ("https://h/K1/full/max/90/default.jpg", None),
        ("https://h/K1/full/max/0/gray.jpg", None),
        ("https://h/full/K1.jpg", None),
    ],
)
def test_images_of_such_servers_are_known_by_their_address(address, base):
    assert find_base(address) == base
    assert is_info(address) is address.endswith("info.json")
