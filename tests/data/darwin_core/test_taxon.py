import pytest

from herbray.data.sources.darwin_core.taxon import TAXON_TERMS, describe_gathering, parse_species


def row(**given):
    return dict.fromkeys(TAXON_TERMS, "") | given


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"species": "Rubus caesius", "scientificname": "Rubus caesius L."}, "Rubus caesius"),
        ({"genus": "Rubus", "specificepithet": "caesius"}, "Rubus caesius"),
        ({"genus": "Capsella", "specificepithet": "bursa-pastoris"}, "Capsella bursa-pastoris"),
        ({"genus": "Rubus", "specificepithet": "sp."}, None),
        ({"genus": "Rubus"}, None),
        ({"scientificname": "Draba nivicola var. orbiculata O.E.Schulz"}, "Draba nivicola"),
        ({"scientificname": "Quercus × rosacea Bechst."}, "Quercus ×rosacea"),
        ({"scientificname": "Quercus cf. rubra L."}, None),
        ({"scientificname": "Rosaceae Juss."}, None),
        ({"scientificname": "Rubus L.", "taxonrank": "GENUS"}, None),
    ],
)
def test_the_species_is_the_parts_or_the_start_of_the_name(given, expected):
    assert parse_species(row(**given)) == expected


def test_a_gathering_needs_a_collector_and_a_number():
    known = {"recordedby": "R. Spruce", "recordnumber": "12", "eventdate": "1854-03-01T00:00:00"}
    assert describe_gathering(row(**known)) == "spruce | 12 | 1854-03-01"
    assert describe_gathering(row(**known | {"recordnumber": "s.n."})) is None
    assert describe_gathering(row(**known | {"recordedby": ""})) is None
