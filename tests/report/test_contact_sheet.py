import base64
import io

from PIL import Image

from herbray.report import Sheet
from herbray.report.sections.sheets import MOST_SHEETS, SIDE, make_contact_sheet


def jpeg(size=(600, 900), **options):
    out = io.BytesIO()
    Image.linear_gradient("L").resize(size).convert("RGB").save(out, "JPEG", **options)
    return out.getvalue()


def sheet(content, number=0, genus="Rubus"):
    return Sheet(content, f"NY{number}", genus, f"{genus} alba", "Rosaceae", "NY", "train")


def picture(contact):
    uri = contact.genera[0][2][0].uri
    assert uri.startswith("data:image/jpeg;base64,")
    return base64.b64decode(uri.split(",")[1])


def test_a_thumbnail_is_small_and_keeps_its_proportions():
    content = picture(make_contact_sheet([sheet(jpeg())]))
    image = Image.open(io.BytesIO(content))
    assert image.size == (round(SIDE * 600 / 900), SIDE)
    assert len(content) < 10_000


def test_nothing_of_the_file_but_its_pixels_is_kept():
    exif = Image.Exif()
    exif[0x010E] = "where the rare orchid grows"
    content = jpeg(exif=exif, comment=b"<script>") + b"<html>appended</html>"
    assert b"orchid" in content
    shown = picture(make_contact_sheet([sheet(content)]))
    assert not any(word in shown for word in (b"orchid", b"<script>", b"appended", b"Exif"))


def test_files_that_are_not_jpeg_are_counted_and_left_out():
    out = io.BytesIO()
    Image.new("RGB", (9, 9)).save(out, "PNG")
    bad = [b"", b"<svg onload=alert(1)>", out.getvalue(), jpeg()[:300]]
    contact = make_contact_sheet([sheet(content, n) for n, content in enumerate(bad)] + [sheet(jpeg(), 9)])
    assert contact.unreadable == len(bad)
    assert sum(len(pictures) for *_, pictures in contact.genera) == 1


def test_an_image_of_too_many_pixels_is_not_decoded():
    content = bytearray(jpeg((16, 16)))
    start = content.index(b"\xff\xc0")
    content[start + 5 : start + 9] = b"\xff\xff\xff\xff"  # says 65535 by 65535
    assert make_contact_sheet([sheet(bytes(content))]).unreadable == 1


def test_sheets_are_grouped_by_genus_and_capped():
    content = jpeg((60, 90))
    sheets = [sheet(content, n, ("Rubus", "Acer")[n % 2]) for n in range(MOST_SHEETS + 5)]
    contact = make_contact_sheet(sheets)
    assert [genus for genus, *_ in contact.genera] == ["Acer", "Rubus"]
    assert sum(len(pictures) for *_, pictures in contact.genera) == MOST_SHEETS
    assert contact.beyond == 5


def test_a_sheet_without_names_has_its_place():
    contact = make_contact_sheet([Sheet(jpeg((60, 90)), "NY1", None, None, None, None, "train")])
    assert contact.genera[0][0] == "genus unknown"
    assert contact.genera[0][2][0].species == "undetermined"
