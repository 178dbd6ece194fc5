"""The page in a real browser: as a file, and served."""

import itertools
import sys
import threading
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))
from browser import Browser, find_chromium

from herbray.flow.review.job import review
from herbray.flow.review.server import make_server
from herbray.verdicts.files import read_verdicts
from herbray.verdicts.judgements import judge

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(find_chromium() is None, reason="no Chromium on this machine"),
]


@pytest.fixture
def browser(tmp_path):
    opened = Browser(tmp_path / "profile", tmp_path)
    yield opened
    opened.close()


def judge_ten(browser):
    """Judge ten sheets by keyboard; returns what was judged: place, verdict, name."""
    said = []
    for number, key in enumerate("yanmyanyny"):
        item = browser.run("document.querySelector('#heading').textContent")
        given = browser.run("document.querySelector('#heading bdi').textContent")
        name = browser.run("document.querySelector('#name').value") if key == "a" else None
        assert item.startswith(f"{number + 1}. Filed as ")
        browser.press(key)
        said.append((given, {"y": "wrong", "a": "wrong", "n": "right", "m": "maybe"}[key], name))
    return said


def start(browser, address):
    browser.open(address)
    browser.run("document.querySelector('#reviewer').focus()")
    browser.type("Ada")
    browser.press("Enter")


def test_ten_sheets_are_judged_by_keyboard_kept_over_a_reload_and_exported(settings, browser, tmp_path):
    review(settings)
    start(browser, f"file://{settings.out}/index.html")
    said = judge_ten(browser)
    browser.press("u")  # take back the tenth …
    assert browser.run("document.querySelector('#heading').textContent").startswith("10. ")
    browser.press("n")  # … and say the opposite
    said[9] = (said[9][0], "right", None)
    browser.press("k")
    browser.press("e")
    browser.type("=1+1, two\tkinds")
    browser.press("Enter")
    browser.open(f"file://{settings.out}/index.html")
    assert browser.run("document.querySelector('#count').textContent").endswith("10 judged by you")
    assert browser.run("document.querySelector('#heading').textContent").startswith("11. ")
    browser.run("document.querySelector('#export').click()")
    file, end = tmp_path / "verdicts-Ada.csv", time.monotonic() + 60
    while not file.exists() and time.monotonic() < end:
        time.sleep(0.05)
    found = judge(read_verdicts(file))
    assert [(each.given, each.verdict, each.name) for each in found.values()] == said
    assert sum(len(each.by) for each in found.values()) == 10
    assert [row["note"] for each in found.values() for row in each.by if row["note"]] == ["=1+1, two\tkinds"]
    assert ",\"'=1+1, two" in file.read_text(encoding="utf-8-sig")
    assert browser.run("document.title") == settings.title  # no name of the metadata has run as a script
    assert browser.faults() == []


def test_another_reviewers_file_is_imported_beside_and_a_bad_one_is_refused(settings, browser):
    review(settings)
    start(browser, f"file://{settings.out}/index.html")
    browser.press("y")
    text = "given;rank;verdict;specimen_id;reviewer;name\n{given};genus;Right;{id};Ben;\n"
    script = """(async () => {{
      const item = Review.peek(0);
      const cell = (value) => `"${{value.replaceAll('"', '""')}}"`;
      const text = {text}.replace('{{given}}', cell(item.given)).replace('{{id}}', cell("'" + item.id));
      return [await Store.importText(text), Store.common(item), [...Store.last(item).keys()].join()];
    }})()"""
    assert browser.run(script.format(text=repr(text))) == [1, "disputed", "Ada,Ben"]
    browser.press("k")
    assert "Reviewers disagree" in browser.run("document.querySelector('#said').textContent")
    for bad in ("a,b\n1,2\n", "specimen_id,rank,given,verdict\n1,genus,Alba,nonsense\n", 'specimen_id,rank\n"1'):
        assert browser.run(f"Store.importText({bad!r}).then(() => '', (error) => error.message)")


def test_served_verdicts_go_to_the_disk_and_a_full_disk_is_told_and_loses_nothing(settings, browser):
    review(settings)
    server = make_server(settings.out, settings.verdicts, "127.0.0.1", 0)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    start(browser, server.address)
    browser.until("document.querySelector('#saved').textContent === 'Saved on the server'")
    browser.press("y")
    browser.until("document.querySelector('#saved').textContent === 'Saved on the server'")
    assert read_verdicts(settings.verdicts)["verdict"].to_pylist() == ["wrong"]
    whole, server.file = server.file, Path("/dev/full")  # every write fails with ENOSPC
    browser.press("n")
    browser.until("document.querySelector('#alert').textContent.includes('No space left on device')")
    assert "1 verdict is not saved on the server" in browser.run("document.querySelector('#alert').textContent")
    server.file = whole
    browser.until("document.querySelector('#saved').textContent === 'Saved on the server'")
    assert browser.run("document.querySelector('#alert').hidden")
    assert read_verdicts(settings.verdicts)["verdict"].to_pylist() == ["wrong", "right"]
    server.shutdown()
    server.server_close()


def test_ten_thousand_sheets_are_a_few_rows_of_the_document(settings, browser):
    review(settings)
    data = settings.out / "data.js"
    text = data.read_text()
    head, _, items = text.partition('"items":[')
    one = items.removesuffix("]});\n")
    data.write_text(f'{head}"items":[{",".join(itertools.repeat(one, 67))}]}});\n')
    browser.open(f"file://{settings.out}/index.html")
    assert browser.run("document.querySelector('#count').textContent").startswith("10,050 of 10,050 sheets")
    assert browser.run("document.querySelectorAll('#list [role=option]').length") < 60
    quickest = browser.run(
        """(async () => {
          const list = document.querySelector('#list');
          let quickest = Infinity;
          for (let step = 1; step <= 50; step += 1) {
            list.scrollTop = step * 11000;
            await new Promise(requestAnimationFrame);
            const begun = performance.now();
            List.draw();
            quickest = Math.min(quickest, performance.now() - begun);
          }
          return quickest;
        })()"""
    )
    assert browser.run("document.querySelector('#list [role=option]').getAttribute('aria-setsize')") == "10050"
    assert (
        quickest < 50
    )  # milliseconds; the quickest of many, because the machine may be busy. The whole list takes seconds
