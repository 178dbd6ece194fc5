"""A Darwin Core Archive of any size, and the memory that reading it takes.

Usage: python tests/data/darwin_core/generate.py FOLDER MEGABYTES [MEGABYTES …]

Each archive is written to FOLDER (not compressed, so that its size is the size of the text), read in a process of its
own, and removed. Printed are its size, its rows, the largest resident memory before and after reading, and the time.
"""

import resource
import subprocess
import sys
import time
import zipfile
from pathlib import Path

from herbray.data.sources.base import Account
from herbray.data.sources.darwin_core import DarwinCore

DWC, DC, GBIF = "http://rs.tdwg.org/dwc/terms/", "http://purl.org/dc/terms/", "http://rs.gbif.org/terms/1.0/"
CORE = {
    "gbifID": GBIF, "datasetKey": GBIF, "occurrenceID": DWC, "basisOfRecord": DWC, "institutionCode": DWC,
    "collectionCode": DWC, "catalogNumber": DWC, "recordedBy": DWC, "recordNumber": DWC, "eventDate": DWC,
    "order": DWC, "family": DWC, "genus": DWC, "specificEpithet": DWC, "scientificName": DWC, "license": DC,
    "references": DC, "locality": DWC, **{f"unused{i}": GBIF for i in range(60)},
}  # fmt: skip
MEDIA = {
    "gbifID": GBIF, "type": DC, "format": DC, "identifier": DC, "license": DC, "rightsHolder": DC, "creator": DC,
}  # fmt: skip
CORE_BYTES, MEDIA_BYTES = 560, 240  # of a row
_ROWS = 20_000  # written at once


def descriptor():
    def table(tag, name, columns, row_type, key):
        fields = "".join(
            f'<field index="{i}" term="{space}{term}"/>' for i, (term, space) in enumerate(columns.items())
        )
        return (
            f'<{tag} encoding="UTF-8" fieldsTerminatedBy="\\t" linesTerminatedBy="\\n" fieldsEnclosedBy="" '
            f'ignoreHeaderLines="1" rowType="{row_type}"><files><location>{name}</location></files>'
            f'<{key} index="0"/>{fields}</{tag}>'
        )

    core = table("core", "occurrence.txt", CORE, DWC + "Occurrence", "id")
    media = table("extension", "multimedia.txt", MEDIA, GBIF + "Multimedia", "coreid")
    return f'<archive xmlns="http://rs.tdwg.org/dwc/text/">{core}{media}</archive>'


def core_row(n):
    who = f"Collector {n % 997}\t{n % 7919}\t{1900 + n % 120}-05-{1 + n % 28:02}"
    key = "50c9509d-22c7-4a22-a47d-8c48425ef4a7"
    name = f"Rosales\tFamily{n % 50}\tGenus{n % 900}\tepithet\tGenus{n % 900} epithet L."
    return (
        f"{n}\t{key}\thttp://id.herb.example.org/{n * 7919 % 10**10}\tPRESERVED_SPECIMEN\t"
        f"K\tHerbarium\tK{n:09}\t{who}\t{name}\tCC_BY_4_0\thttps://herb.example.org/specimen/{n}\t{'locality ' * 18}"
        + "\t" * 60 + "\n"
    )  # fmt: skip


def media_row(n, core):
    address = f"https://images.herb.example.org/{n % 100}/{core}_{n}.jpg"
    rights = "http://creativecommons.org/licenses/by/4.0/legalcode\tRoyal Botanic Gardens, Kew\tThe imaging team"
    return f"{core}\tStillImage\timage/jpeg\t{address}\t{rights}\n"


def generate(path, size):
    """Write an archive of about `size` bytes whose images are in another order than its records."""
    rows = size // (CORE_BYTES + MEDIA_BYTES)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED, allowZip64=True) as file:
        file.writestr("meta.xml", descriptor())
        for name, columns, row in (
            ("occurrence.txt", CORE, core_row),
            ("multimedia.txt", MEDIA, lambda n: media_row(n, n * 7_368_787 % rows)),
        ):
            with file.open(name, "w", force_zip64=True) as member:
                member.write(("\t".join(columns) + "\n").encode())
                for start in range(0, rows, _ROWS):
                    member.write("".join(map(row, range(start, min(rows, start + _ROWS)))).encode())
    return rows


def measure(path):
    """Read an archive; print rows, memory in MB before and at most, and seconds."""
    before, start, account = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time(), Account()
    rows = sum(len(batch) for batch in DarwinCore(path=path).read(print, account))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"{rows:,} rows, {before / 1024:.0f} MB before, {peak / 1024:.0f} MB peak, ", end="")
    print(f"{time.process_time() - start:.0f} CPU-seconds", flush=True)


def main(folder, sizes):
    for size in sizes:
        path = Path(folder, f"generated-{size}.zip")
        generate(path, size * 10**6)
        print(f"{path.stat().st_size / 10**6:,.0f} MB: ", end="", flush=True)
        subprocess.run([sys.executable, __file__, "--measure", str(path)], check=True)
        path.unlink()


if __name__ == "__main__":
    if sys.argv[1] == "--measure":
        measure(Path(sys.argv[2]))
    else:
        main(sys.argv[1], [int(each) for each in sys.argv[2:]])
