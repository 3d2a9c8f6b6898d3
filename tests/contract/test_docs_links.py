"""Every relative link in README.md and docs/ leads to a file that is there, and to its heading where one is named."""

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])

_FENCE = re.compile(r"^(`{3,}|~{3,}).*?^\1[^\n]*$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"(`+)(?!`).+?(?<!`)\1(?!`)", re.DOTALL)
_INLINE = re.compile(r"\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)")
_REFERENCE = re.compile(r"^\s{0,3}\[[^\]]+\]:\s+<?(\S+?)>?\s*$", re.MULTILINE)
_HTML = re.compile(r"<(?:a|img)\b[^>]*?\b(?:href|src)=[\"']([^\"']+)[\"']")
_ANCHOR = re.compile(r"<[a-z]+\b[^>]*?\b(?:id|name)=[\"']([^\"']+)[\"']")
_HEADING = re.compile(r"^\s{0,3}#{1,6}\s+(.+?)\s*#*\s*$", re.MULTILINE)
_SCHEME = re.compile(r"^[a-z][a-z0-9+.-]*:", re.IGNORECASE)


def links(text: str) -> Iterator[str]:
    """Targets of the links of a page that stay in the repository; code is no link."""
    prose = _CODE.sub("", _FENCE.sub("", text))
    for pattern in (_INLINE, _REFERENCE, _HTML):
        yield from (target for target in pattern.findall(prose) if not _SCHEME.match(target) and target[:2] != "//")


def anchors(text: str) -> set[str]:
    """The anchors of a page, as GitHub makes them of its headings."""
    prose = _FENCE.sub("", text)
    found, seen = set(_ANCHOR.findall(prose)), dict[str, int]()
    for heading in _HEADING.findall(prose):
        shown = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        name = re.sub(r"[^\w\- ]", "", shown.strip().lower()).replace(" ", "-")
        number = seen.get(name, 0)
        seen[name] = number + 1
        found.add(f"{name}-{number}" if number else name)
    return found


def broken(page: Path, root: Path) -> list[str]:
    """What is wrong with the links of a page, a line each."""
    wrong = []
    for link in links(page.read_text(encoding="utf-8")):
        path, _, anchor = link.partition("#")
        target = (page.parent / unquote(path)).resolve() if path else page
        if not target.is_relative_to(root):
            wrong.append(f"{link}: leads out of the repository")
        elif not target.exists():
            wrong.append(f"{link}: there is no such file")
        elif anchor and (target.suffix != ".md" or unquote(anchor) not in anchors(target.read_text(encoding="utf-8"))):
            wrong.append(f"{link}: there is no such heading")
    return wrong


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    assert broken(page, ROOT) == []


def test_there_are_links_to_check() -> None:
    assert len(PAGES) > 10
    assert sum(len(list(links(page.read_text(encoding="utf-8")))) for page in PAGES) > 30


def test_every_page_can_be_reached_from_the_front_page() -> None:
    reached, todo = set[Path](), [ROOT / "README.md"]
    while todo:
        page = todo.pop()
        if page in reached or page.suffix != ".md":
            continue
        reached.add(page)
        targets = ((page.parent / unquote(link.partition("#")[0])).resolve() for link in links(page.read_text()))
        todo += [target for target in targets if target.is_file()]
    assert [str(page.relative_to(ROOT)) for page in PAGES if page not in reached] == []


def test_what_is_broken_is_found(tmp_path: Path) -> None:
    (tmp_path / "b.md").write_text("# One `two`, three\n\n## Again\n\n## Again\n\n```sh\n# not a heading\n```\n")
    page = tmp_path / "a.md"
    page.write_text(
        "[ok](b.md) [ok](b.md#one-two-three) [ok](b.md#again-1) [ok](https://example.org/x) [ok](#here)\n"
        "# Here\n`[code](nowhere.md)`\n\n```md\n[code](nowhere.md)\n```\n"
        '[gone](c.md) [gone](b.md#not-a-heading) ![gone](img/x.svg "x") [out](../x) <img src="y.png">\n[r]: z.md\n'
    )
    assert broken(page, tmp_path) == [
        "c.md: there is no such file",
        "b.md#not-a-heading: there is no such heading",
        "img/x.svg: there is no such file",
        "../x: leads out of the repository",
        "z.md: there is no such file",
        "y.png: there is no such file",
    ]
