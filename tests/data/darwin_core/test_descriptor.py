import pytest

HEAD = '<archive xmlns="http://rs.tdwg.org/dwc/text/"><core rowType="http://rs.tdwg.org/dwc/terms/Occurrence"'
BOMB = '<!DOCTYPE a [<!ENTITY b "bbbb"><!ENTITY c "&b;&b;&b;">]><archive><core>&c;</core></archive>'
OUTSIDE = '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><archive>&b;</archive>'


def core(location="occurrence.txt", attributes=""):
    return f'{HEAD} {attributes}><files><location>{location}</location></files><id index="0"/></core></archive>'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BOMB, "DOCTYPE or entities"),
        (OUTSIDE, "DOCTYPE or entities"),
        ("<archive><core>", "not well-formed XML"),
        ("<html/>", "no <core>"),
        (core("absent.txt"), r"names absent\.txt for its rows of occurrence, which is not in the archive"),
        (core("../../etc/passwd"), "which is not in the archive"),
        (core("/etc/passwd"), "which is not in the archive"),
        (core("https://example.org/occurrence.txt"), "which is not in the archive"),
        (core(attributes='fieldsTerminatedBy="||"'), "one character each"),
        (core(attributes='encoding="rot13"'), "no encoding of text"),
        (core(attributes='encoding="unicode_escape"'), "no encoding of text"),
        (core(attributes='ignoreHeaderLines="many"'), "where a column or a number of lines"),
        (core().replace("terms/Occurrence", "terms/Taxon"), "a row of its core is a 'taxon'"),
    ],
)
def test_a_descriptor_that_cannot_be_followed_is_refused(make, read, text, message):
    with pytest.raises(ValueError, match=message):
        read(make(members={"meta.xml": text}))


def test_metadata_with_a_document_type_are_refused_too(make, read):
    with pytest.raises(ValueError, match=r"eml\.xml has a DOCTYPE"):
        read(make(members={"eml.xml": "<!DOCTYPE html><html/>"}))


def test_a_table_of_images_that_is_not_there_is_refused_others_are_noted(make, read):
    path = make(members={"multimedia.txt": None})
    with pytest.raises(ValueError, match=r"names multimedia\.txt for its rows of multimedia"):
        read(path)


def test_columns_that_the_header_has_elsewhere_are_refused(make, read):
    rows = "id\tbasisOfRecord\toccurrenceID\tinstitutionCode\tcatalogNumber\tfamily\tgenus\tspecificEpithet\n"
    with pytest.raises(ValueError, match="the columns are shifted"):
        read(make(core=rows))


QUOTED = '1,"u,1",PreservedSpecimen,K,K1,Rosaceae,Rubus,caesius\n'


@pytest.mark.parametrize(
    ("dialect", "line"),
    [
        ({"fieldsTerminatedBy": ",", "fieldsEnclosedBy": None}, QUOTED),
        ({"fieldsTerminatedBy": ",", "fieldsEnclosedBy": "&quot;"}, QUOTED),
        ({"fieldsTerminatedBy": ";", "fieldsEnclosedBy": ""}, "1;u,1;PreservedSpecimen;K;K1;Rosaceae;Rubus;caesius\n"),
        ({"linesTerminatedBy": "\\r\\n"}, "1\tu,1\tPreservedSpecimen\tK\tK1\tRosaceae\tRubus\tcaesius\r\n"),
        ({"linesTerminatedBy": "\\r"}, "1\tu,1\tPreservedSpecimen\tK\tK1\tRosaceae\tRubus\tcaesius\r"),
    ],
)  # fmt: skip
def test_dialects(make, read, dialect, line):
    separator = {",": ",", ";": ";"}.get(dialect.get("fieldsTerminatedBy"), "\t")
    media = separator.join(("1", "StillImage", "image/jpeg", "https://a.b/1.jpg", "", "")) + "\n"
    if dialect.get("linesTerminatedBy") == "\\r":
        media = media.replace("\n", "\r")
    rows, refused, _ = read(make(core=line, media=media, dialect={"ignoreHeaderLines": None, **dialect}))
    assert refused == []
    assert [(row["specimen_id"], row["species"]) for row in rows] == [("K:/u,1", "Rubus caesius")]


def test_defaults_fill_empty_and_missing_columns(make, read):
    text = (
        f'{HEAD} fieldsTerminatedBy="\\t"><files><location>occurrence.txt</location></files><id index="0"/>'
        '<field index="1" term="http://rs.tdwg.org/dwc/terms/genus" default="Rubus"/>'
        '<field index="2" term="http://rs.tdwg.org/dwc/terms/associatedMedia"/>'
        '<field term="http://rs.tdwg.org/dwc/terms/occurrenceID" default="urn:x:1"/></core></archive>'
    )
    rows, _, _ = read(make(core="1\t\thttps://a.b/1.jpg\n2\tZea\thttps://a.b/2.jpg\n", members={"meta.xml": text}))
    assert [(row["genus"], row["specimen_id"]) for row in rows] == [("Rubus", "urn:x:1")]


def test_a_core_in_several_files(make, read):
    files = "<location>occurrence.txt</location><location>more/rest.txt</location>"
    text = core().replace("<location>occurrence.txt</location>", files).replace(" >", ' fieldsTerminatedBy="\\t">', 1)
    columns = "".join(
        f'<field index="{number}" term="http://rs.tdwg.org/dwc/terms/{term}"/>'
        for number, term in enumerate(("occurrenceID", "genus", "associatedMedia"), start=1)
    )
    text = text.replace("</core>", columns + "</core>")
    first, rest = (
        "1\turn:x:1\tRubus\thttps://a.b/1.jpg\n",
        "2\turn:x:2\tZea\thttps://a.b/2.jpg\n3\turn:x:1\tZea\thttps://a.b/3.jpg\n",
    )
    rows, refused, _ = read(make(core=first, members={"meta.xml": text, "more/rest.txt": rest}))
    assert [row["genus"] for row in rows] == ["Rubus", "Zea"]
    assert [reason for _, _, reason, _ in refused] == ["duplicate"]
