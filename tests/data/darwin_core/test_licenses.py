import pytest

from herbray.data.sources.darwin_core.licenses import parse_license


@pytest.mark.parametrize(
    ("text", "spdx"),
    [
        ("http://creativecommons.org/licenses/by-nc/4.0/legalcode", "CC-BY-NC-4.0"),
        ("https://creativecommons.org/licenses/by-sa/3.0/de/", "CC-BY-SA-3.0"),
        ("http://creativecommons.org/licenses/by-nc-nd/4.0/", "CC-BY-NC-ND-4.0"),
        ("https://creativecommons.org/licenses/by-nc-sa/2.5", "CC-BY-NC-SA-2.5"),
        ("http://creativecommons.org/publicdomain/zero/1.0/legalcode", "CC0-1.0"),
        ("https://creativecommons.org/publicdomain/mark/1.0/", "CC-PDM-1.0"),
        ("CC_BY_NC_4_0", "CC-BY-NC-4.0"),
        ("CC BY 4.0", "CC-BY-4.0"),
        ("This work is licensed under a CC-BY-SA 3.0 licence", "CC-BY-SA-3.0"),
        ("CC0_1_0", "CC0-1.0"),
        ("CC0 1.0 Universal", "CC0-1.0"),
        ("CC BY-NC-SA (Attribution-NonCommercial-ShareAlike)", None),
        ("CC BY", None),
        ("© Royal Botanic Gardens, Kew. All rights reserved", None),
        ("http://creativecommons.org/licenses/by-nd-sa/4.0/", None),
        ("http://creativecommons.org/licenses/by/9.9/", None),
        ("", None),
    ],
)
def test_a_licence_is_known_by_its_address_or_its_name_with_a_version(text, spdx):
    assert parse_license(text) == spdx
