import pytest

from herbray.data.sources.darwin_core.media import MEDIA_TERMS, find_reference, is_image, make_media, split_references


def row(**given):
    return dict.fromkeys(MEDIA_TERMS, "") | given


@pytest.mark.parametrize(
    ("given", "reference", "expected"),
    [
        ({"type": "StillImage", "format": "image/jpeg"}, "http://a.b/c", True),
        ({"type": "image/jpeg", "format": "StillImage"}, "http://a.b/c", True),
        ({"type": "http://purl.org/dc/dcmitype/StillImage"}, "http://a.b/c", True),
        ({"mediatype": "STILL_IMAGE"}, "http://a.b/c", True),
        ({"format": "jpg"}, "http://a.b/c", True),
        ({}, "http://a.b/c.JPG?size=full", True),
        ({}, "http://a.b/c", True),
        ({"format": "application/octet-stream"}, "http://a.b/c.jpg", True),
        ({"type": "StillImage", "format": "text/html"}, "http://a.b/c", False),
        ({"type": "Sound"}, "http://a.b/c.jpg", False),
        ({"mediatype": "INTERACTIVE_RESOURCE", "format": "application/json"}, "http://a.b/manifest.json", False),
        ({}, "http://a.b/c.mp3", False),
        ({}, "http://a.b/label.pdf", False),
    ],
)
def test_type_and_format_say_what_is_an_image_even_if_swapped_or_missing(given, reference, expected):
    assert is_image(row(**given), reference) is expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"accessuri": "https://a.b/1", "identifier": "https://a.b/2"}, "https://a.b/1"),
        ({"identifier": "https://a.b/2", "goodqualityaccessuri": "https://a.b/3"}, "https://a.b/2"),
        ({"identifier": "urn:uuid:7ddb", "goodqualityaccessuri": "https://a.b/3"}, "https://a.b/3"),
        ({"identifier": "images/K1.jpg"}, "images/K1.jpg"),
        ({"identifier": "K000001"}, None),
        ({"accessuri": "javascript:alert(1)"}, None),
        ({"accessuri": "file:///etc/passwd.png"}, None),
        ({"accessuri": "ftp://a.b/c.jpg"}, None),
    ],
)
def test_the_first_usable_address_is_taken(given, expected):
    assert find_reference(row(**given)) == expected


def test_licences_of_an_image_that_contradict_each_other_give_none_but_keep_their_texts():
    zero, owner = "http://creativecommons.org/publicdomain/zero/1.0/", "CC BY-NC 4.0"
    media = make_media(row(rights=zero, usageterms=owner, owner="Utah"), "a.jpg")
    assert (media.license, media.license_text, media.rights_holder) == ("", f"{zero} | {owner}", "Utah")
    assert make_media(row(rights=zero, usageterms="CC BY"), "a.jpg").license == "CC0-1.0"


def test_size_and_thumbnail_as_declared():
    media = make_media(row(pixelxdimension="4000", pixelydimension="6000", variant="ac:Thumbnail"), "a.jpg")
    assert (media.pixels, media.thumbnail) == (24_000_000, True)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://a.b/1.jpg | https://a.b/2.jpg", ["https://a.b/1.jpg", "https://a.b/2.jpg"]),
        ("https://a.b/1.jpg;https://a.b/2.jpg", ["https://a.b/1.jpg", "https://a.b/2.jpg"]),
        ("https://a.b/1.jpg, https://a.b/2.jpg", ["https://a.b/1.jpg", "https://a.b/2.jpg"]),
        ("https://a.b/1.jpg https://a.b/2.jpg", ["https://a.b/1.jpg", "https://a.b/2.jpg"]),
        ("https://a.b/x;y,z/full/2048,/0/default.jpg", ["https://a.b/x;y,z/full/2048,/0/default.jpg"]),
        ("a.jpg; b.jpg|a.jpg", ["a.jpg", "b.jpg"]),
        ("see the archive", []),
        ("", []),
    ],
)
def test_lists_of_associated_media(text, expected):
    assert split_references(text, {}) == expected


def test_a_declared_separator_counts():
    assert split_references("a.jpg#b.jpg", {"associatedmedia": "#"}) == ["a.jpg", "b.jpg"]
