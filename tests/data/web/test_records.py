from herbray.data.draws import draw_numbers
from herbray.data.web.hosts import HostImages
from herbray.data.web.pending import Again, deal, is_fetched, list_pending
from herbray.data.web.records import Journal, Record, compact, new_name, read_records

WEB = "https://a.org/{}.jpg"


def test_the_last_record_counts_and_an_unfinished_line_does_not(tmp_path):
    for number in range(2):
        with Journal(tmp_path, new_name(number)) as journal:
            journal.append(Record(WEB.format(1), bytes=number))
            journal.append(Record(WEB.format(number + 2), reason="http-404", detail="é"))
    (path, *_) = sorted(tmp_path.glob("*.jsonl"))
    with path.open("ab") as file:
        file.write(b'{"image": "https://a.org/9.jpg", "reas')
    (tmp_path / f"{new_name(3)}.jsonl").write_bytes(
        b'\n[]\n{"image": 1, "odd": 2}\n\xff\n{"reason": ""}\n' + b"[" * 9999
    )
    found = read_records(tmp_path)
    assert {image[-5]: record.bytes for image, record in found.items()} == {"1": 1, "2": 0, "3": 0}
    assert found[WEB.format(3)].detail == "é"
    compact(tmp_path, found.values())
    assert len([*tmp_path.iterdir()]) == 1
    assert read_records(tmp_path) == found


def test_a_killed_process_has_written_every_record(tmp_path):
    journal = Journal(tmp_path, "1").__enter__()
    journal.append(Record("x"))
    assert read_records(tmp_path) == {"x": Record("x")}
    journal.__exit__()


NEVER = Again(False, 0, 0)


def due(records, again=NEVER, files=None):
    known = {record.image: record for record in records}
    work = list_pending([record.image for record in records], known, {"f": 7} if files is None else files, again)
    return {image[14:-4] for each in work for image in each.images}


def test_only_what_is_missing_is_due():
    kept = Record(WEB.format("kept"), file="f", bytes=7, checked_at=100)
    short = Record(WEB.format("short"), file="f", bytes=8)
    gone = Record(WEB.format("gone"), file="g", bytes=7)
    refused = Record(WEB.format("refused"), reason="http-404")
    failed = Record(WEB.format("failed"), reason="timeout", passing=True)
    records = [kept, short, gone, refused, failed]
    assert due(records) == {"short", "gone", "failed"}
    assert due(records, Again(True, 0, 0)) == {"short", "gone", "failed", "refused"}
    assert due([kept], Again(False, 101, 512)) == {"kept"}
    assert due([kept], Again(False, 99, 512)) == set()
    (work,) = list_pending([each.image for each in (failed, short)], {each.image: each for each in records}, {}, NEVER)
    assert (work.images, work.known) == ((short.image, failed.image), {failed.image: failed})  # what failed is the last
    assert not is_fetched(None, {"": 0})
    (work,) = list_pending([kept.image, WEB.format("new")], {kept.image: kept}, {"f": 7}, Again(False, 101, 0))
    assert [*work.images] == sorted(work.images, key=lambda image: draw_numbers(0, "fetch", [image])[0])
    assert (work.known, len(work.images)) == ({kept.image: kept}, 2)


def test_hosts_are_dealt_whole_and_evenly():
    images = [
        f"https://{host}.org/{number}"
        for host, count in zip("abcd", (2, 9, 5, 5), strict=True)
        for number in range(count)
    ]
    work = list_pending(["nowhere", *images], {}, {}, Again(False, 0, 0))
    assert [(each.host, len(each.images)) for each in work] == [
        ("b.org", 9),
        ("c.org", 5),
        ("d.org", 5),
        ("a.org", 2),
        ("", 1),
    ]
    assert [[each.host for each in group] for group in deal(work, 2)] == [["b.org", "a.org"], ["c.org", "d.org", ""]]
    assert deal([HostImages("a", ("x",))], 8) == [[HostImages("a", ("x",))]]
