"""Archives as publishers write them, made on the spot."""

from pathlib import Path

DWC, GBIF, DC = "http://rs.tdwg.org/dwc/terms/", "http://rs.gbif.org/terms/1.0/", "http://purl.org/dc/terms/"
SAMPLES = Path(__file__).parents[3].parent / "shared/data/dwca"

CORE = ["id", "occurrenceID", "basisOfRecord", "institutionCode", "catalogNumber", "family", "genus", "specificEpithet"]
MEDIA = ["coreid", "type", "format", "identifier", "license", "rightsHolder"]


def describe(tag, name, columns, row_type, **dialect):
    """The element of one table in meta.xml."""
    given = {"encoding": "UTF-8", "fieldsTerminatedBy": "\\t", "linesTerminatedBy": "\\n", "fieldsEnclosedBy": ""}
    attributes = {**given, "ignoreHeaderLines": "1", **dialect}
    written = " ".join(f"{key}='{value}'" for key, value in attributes.items() if value is not None)
    key = "id" if tag == "core" else "coreid"
    spaces = {name: DC for name in ("type", "format", "identifier", "license", "rightsHolder", "references")}
    fields = "".join(
        f'<field index="{i}" term="{spaces.get(each, DWC)}{each}"/>' for i, each in enumerate(columns) if i > 0
    )
    return (
        f'<{tag} {written} rowType="{row_type}"><files><location>{name}</location></files><{key} index="0"/>'
        f"{fields}</{tag}>"
    )


def descriptor(*tables):
    return f'<archive xmlns="http://rs.tdwg.org/dwc/text/" metadata="eml.xml">{"".join(tables)}</archive>'


def tabbed(columns, rows):
    return "\n".join("\t".join(row) for row in [columns, *rows]) + "\n"


def occurrence(number, **given):
    """A row of the core."""
    values = dict(zip(CORE, [str(number), f"urn:uuid:00000000-0000-4000-8000-{number:012}", "PreservedSpecimen", "K",
                             f"K{number}", "Rosaceae", "Rubus", "caesius"], strict=True))  # fmt: skip
    return list((values | given).values())


def picture(core, address=None, **given):
    """A row of the table of images."""
    values = dict(zip(MEDIA, [str(core), "StillImage", "image/jpeg", address or f"https://example.org/{core}.jpg",
                              "http://creativecommons.org/licenses/by/4.0/", "Kew"], strict=True))  # fmt: skip
    return list((values | given).values())
