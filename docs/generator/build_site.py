"""Lays out the pages of the site in `build/docs`: those of `docs/`, two from the root, and the generated reference.

`make docs` runs this and then Zensical, which reads `zensical.toml`.
"""

import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import commands_page
import python_page
import settings_pages
import tables_page

ROOT: Final = Path(__file__).resolve().parents[2]
FROM_ROOT: Final = {"CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md"}
"""File of the repository → page of the site."""

_KINDS: Final = (".css", ".md", ".png", ".svg")
_NOT_PAGES: Final = ("generator", "benchmark-remarks")
_LINK: Final = re.compile(r"\[([^\]]*)\]\(([^)#\s]+)(#[^)\s]*)?\)")


def sources() -> dict[str, str]:
    """File of the repository → its place in the site."""
    docs = (path.relative_to(ROOT / "docs") for path in sorted((ROOT / "docs").rglob("*")) if path.suffix in _KINDS)
    kept = {f"docs/{path.as_posix()}": path.as_posix() for path in docs if path.parts[0] not in _NOT_PAGES}
    return kept | FROM_ROOT


def reference() -> dict[str, str]:
    """Generated pages: place in the site → Markdown."""
    pages = settings_pages.pages() | {
        "commands.md": commands_page.page(),
        "python.md": python_page.page(),
        "tables.md": tables_page.page(),
    }
    return {f"reference/{name}": text for name, text in pages.items()}


def contents(pages: Mapping[str, str]) -> str:
    """A list of links to generated pages, for the first page of the reference."""
    lines = (
        f"- [{text.partition(chr(10))[0].lstrip('# ')}]({Path(place).name})" for place, text in sorted(pages.items())
    )
    return "\n".join(["", "## Pages", "", *lines, ""])


def relinked(text: str, file: str, places: Mapping[str, str]) -> str:
    """A page with its links made right for the site.

    A link to another page is rewritten; one to a file of the repository that is no page loses its address; all others,
    also those that lead nowhere, stay, so that the strict build sees them.

    Args:
        text: Markdown.
        file: its path in the repository.
        places: file of the repository → its place in the site.
    """

    def replaced(found: re.Match[str]) -> str:
        words, target, anchor = found[1], found[2], found[3] or ""
        if "://" in target:
            return found[0]
        wanted = Path(os.path.normpath(Path(file).parent / target)).as_posix()
        if wanted in places:
            return f"[{words}]({os.path.relpath(places[wanted], Path(places[file]).parent)}{anchor})"
        return words if (ROOT / wanted).is_file() else found[0]

    return _LINK.sub(replaced, text)


def build(out: Path) -> int:
    """Write all pages below `out`, which is emptied first, and return how many pages there are."""
    shutil.rmtree(out, ignore_errors=True)
    places, pages = sources(), reference()
    for file, place in places.items():
        target = out / place
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.suffix == ".md":
            target.write_text(relinked((ROOT / file).read_text(encoding="utf-8"), file, places), encoding="utf-8")
        else:
            shutil.copyfile(ROOT / file, target)
    for place, text in pages.items():
        (out / place).parent.mkdir(parents=True, exist_ok=True)
        (out / place).write_text(text, encoding="utf-8")
    with (out / "reference" / "index.md").open("a", encoding="utf-8") as index:
        index.write(contents(pages))
    return len(list(out.rglob("*.md")))


if __name__ == "__main__":
    print(f"build/docs: {build(ROOT / 'build' / 'docs')} pages")
