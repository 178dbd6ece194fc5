import pytest

from herbray.data.sources.darwin_core.identity import IDENTITY_TERMS, fold_identifier, identify

UUID = "7ddb21fc-fa2f-4575-a594-322e837faa88"
DATASET = "50c9509d-22c7-4a22-a47d-8c48425ef4a7"


def identity(**given):
    return identify(dict.fromkeys(IDENTITY_TERMS, "") | given)


@pytest.mark.parametrize("text", [UUID, UUID.upper(), f"urn:uuid:{UUID}", f"URN:UUID:{UUID.upper()}", f"{{{UUID}}}"])
def test_every_spelling_of_a_uuid_is_one(text):
    assert fold_identifier(text) == UUID


def test_the_scheme_and_the_case_of_the_host_do_not_matter_but_the_path_does():
    assert (
        fold_identifier("https://ID.example.org/B1")
        == fold_identifier("http://id.example.org/B1")
        == "id.example.org/B1"
    )
    assert fold_identifier("http://id.example.org/b1") != fold_identifier("http://id.example.org/B1")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"occurrenceid": f"urn:uuid:{UUID}", "datasetkey": DATASET}, f"{DATASET}/{UUID}"),
        ({"occurrenceid": "http://id.example.org/B1", "recordset": DATASET}, f"{DATASET}/id.example.org/B1"),
        ({"occurrenceid": UUID}, UUID),
        ({"occurrenceid": "K:Herbarium:1"}, "K:Herbarium:1"),
        ({"occurrenceid": "17", "institutioncode": "K", "collectioncode": "Herb"}, "K:Herb/17"),
        ({"institutioncode": "K", "collectioncode": "Herb", "catalognumber": "K1"}, "K:Herb:K1"),
        ({"institutioncode": "K:H", "catalognumber": "1"}, "K%3AH::1"),
        ({"materialentityid": "B 10 0356094", "institutioncode": "B"}, "B:/B 10 0356094"),
        ({"recordid": UUID}, UUID),
        ({"recordid": "12"}, None),
        ({"catalognumber": "K1"}, None),
        ({}, None),
    ],
)
def test_the_publishers_id_else_the_triplet_else_the_portals_uuid(given, expected):
    assert identity(**given) == expected
