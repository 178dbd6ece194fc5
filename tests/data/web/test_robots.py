import time

import pytest

from herbray.data.web.robots import MAX_BYTES, Rules, parse_rules


def allows(text, path, product="herbray"):
    return parse_rules(text.encode(), product).allows(path)


RFC = """
User-Agent: *
Disallow: *.gif$
Disallow: /example/
Allow: /publications/

User-Agent: foobot
Disallow:/
Allow:/example/page.html
Allow:/example/allowed.gif

User-Agent: barbot
User-Agent: bazbot
Disallow: /example/page.html

User-Agent: quxbot
"""


@pytest.mark.parametrize(
    ("product", "path", "allowed"),
    [
        *[("other", path, path == "/publications/x") for path in ("/a.gif", "/example/", "/publications/x")],
        *[("foobot", "/", False), ("foobot", "/example/page.html", True), ("foobot", "/example/page.htm", False)],
        *[("barbot", "/example/page.html", False), ("bazbot", "/example/page.html", False), ("bazbot", "/a.gif", True)],
        ("quxbot", "/a.gif", True),
    ],
)
def test_the_example_of_the_rfc(product, path, allowed):
    """RFC 9309, section 5.1."""
    assert allows(RFC, path, product) is allowed


def test_the_longest_rule_wins_and_of_two_equal_ones_the_one_that_allows():
    """RFC 9309, section 5.2."""
    text = "User-Agent: foobot\nAllow: /example/page/\nDisallow: /example/page/disallowed.gif\n"
    assert not allows(text, "/example/page/disallowed.gif", "foobot")
    assert allows(text, "/example/page/other.gif", "foobot")
    assert allows("User-agent: *\nDisallow: /page\nAllow: /page", "/page")
    assert allows("User-agent: *\nDisallow: /\nAllow: /iiif/", "/iiif/1")


@pytest.mark.parametrize(
    ("pattern", "path", "fits"),
    [
        *[
            ("/path/file-with-a-%2A.html", "/path/file-with-a-%2A.html", True),
            ("/foo/bar?q=%E3%81%82", "/foo/bar?q=あ", True),
        ],
        *[("/a%3cd.html", "/a%3Cd.html", True), ("/~b", "/%7Eb", True), ("/%7eb", "/~b", True)],
        *[("/fish*.php", "/fish/a.php?x", True), ("/*.php$", "/a.php", True), ("/*.php$", "/a.php?x", False)],
        *[("/a*b$", "/ab", True), ("/ab*b$", "/ab", False), ("*", "/x", True), ("/$", "/", True), ("/$", "/x", False)],
        *[("/a*b*c", "/a-c-b-c", True), ("/a*b*c", "/a-c-b", False), ("/Fish", "/fish", False)],
    ],
)
def test_patterns(pattern, path, fits):
    assert parse_rules(f"User-agent: *\nDisallow: {pattern}".encode(), "herbray").allows(path) is not fits


def test_groups_are_found_by_product_token_and_joined():
    text = "\ufeffuser-AGENT: HerbRay/2.0\r\nSitemap: x\r\nDISALLOW: /a # so\r\n\r\n"
    text += "User-agent: herbray\rdisallow:/b\nCrawl-delay: 2.5"
    rules = parse_rules(text.encode(), "herbray")
    assert (rules.allows("/a"), rules.allows("/b"), rules.allows("/c"), rules.delay_s) == (False, False, True, 2.5)
    assert parse_rules(b"User-agent: herbrayer\nDisallow: /", "herbray") == Rules()


@pytest.mark.parametrize(
    "data", [b"", b"\xff\xfe\x00", b"<html>", b"Disallow: /", b"User-agent\nDisallow: /", b"\0" * 99]
)
def test_a_file_without_groups_allows_everything(data):
    assert parse_rules(data, "herbray").allows("/x")


def test_hostile_patterns_take_no_time():
    start = time.process_time()
    rules = parse_rules(
        b"User-agent: *\nDisallow: /" + b"*a" * 2000 + b"b$\nCrawl-delay: 1e9\n" + b"x" * MAX_BYTES * 2, "herbray"
    )
    assert rules.allows("/" + "a" * 4000)
    assert rules.delay_s == 0
    assert time.process_time() - start < 1
