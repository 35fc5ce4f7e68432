"""The parts of a page: elements, escaped text, tables and the style sheet.

A page refers to nothing outside itself and has no scripts; whatever comes from files is escaped.
It is also well-formed XML, so that any parser reads it.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from conversion.reports.wording import shown


def escaped(text: object) -> str:
    """Escape a text of any origin for use between tags and in quoted attributes."""
    return html.escape(shown(text), quote=True)


def element(tag: str, content: str, **attributes: str) -> str:
    """Wrap markup in an element; values of attributes are escaped, `class_` stands for class."""
    pairs = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{escaped(value)}"'
        for name, value in attributes.items()
        if value
    )
    return f"<{tag}{pairs}>{content}</{tag}>"


@dataclass(frozen=True)
class Cell:
    """A cell of a table: its text, its style classes, and its tooltip."""

    text: str
    kind: str = ""
    title: str = ""


def table(
    header: Sequence[Cell | str], rows: Iterable[Sequence[Cell | str]], kind: str = ""
) -> str:
    """Build a table.

    Args:
        header: The cells of the header; a plain string is a cell without style.
        rows: The cells of the other rows.
        kind: Style class of the table.
    """
    body = "\n".join(_line("td", row) for row in rows)
    inner = element("thead", _line("th", header, scope="col")) + element("tbody", body)
    return element("div", element("table", inner, class_=kind), class_="wide")


def _line(tag: str, row: Sequence[Cell | str], scope: str = "") -> str:
    cells = (Cell(cell) if isinstance(cell, str) else cell for cell in row)
    return element(
        "tr",
        "".join(
            element(tag, escaped(cell.text), class_=cell.kind, title=cell.title, scope=scope)
            for cell in cells
        ),
    )


def heading(text: str) -> str:
    """Build the heading of a section."""
    return element("h2", escaped(text))


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """Build a list of names and their descriptions."""
    inner = "".join(element("dt", escaped(a)) + element("dd", escaped(b)) for a, b in pairs)
    return element("dl", inner)


def document(title: str, body: str) -> str:
    """Build the whole page around its body."""
    return (
        "<!DOCTYPE html>\n"
        '<html lang="en"><head><meta charset="utf-8" />'
        # Nothing is loaded and nothing runs, whatever the page may come to hold.
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'\" />"
        '<meta name="viewport" content="width=device-width, initial-scale=1" />'
        f"<title>{escaped(title)}</title>\n<style>{STYLE}</style></head>\n"
        f"<body><main>{body}</main></body></html>\n"
    )


STYLE = """
:root { color-scheme: light dark; --ink: #1d2430; --soft: #5b6675; --line: #d9dee6;
  --paper: #ffffff; --panel: #f6f8fa; --good: #1a7f37; --bad: #cf222e; --warn: #9a6700;
  --good-back: #dcf5e3; --bad-back: #ffe3e1; --warn-back: #fff3cd; --one: #0969da; --two: #bc4c00; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --soft: #9aa6b4; --line: #333c48;
  --paper: #0f141a; --panel: #171d25; --good: #57d07d; --bad: #ff7b72; --warn: #e3b341;
  --good-back: #12351f; --bad-back: #4a1b1b; --warn-back: #3d2f0a; --one: #6cb6ff;
  --two: #f69d50; } }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 24px 20px 64px; }
h1 { font-size: 24px; margin: 0 0 12px; line-height: 1.25; overflow-wrap: anywhere; }
h2 { font-size: 17px; margin: 36px 0 8px; }
p { margin: 8px 0; overflow-wrap: anywhere; }
.verdict { padding: 12px 16px; border-radius: 8px; border-left: 6px solid; }
.verdict b { margin-right: 8px; letter-spacing: 0.04em; }
.passed { background: var(--good-back); border-color: var(--good); }
.failed { background: var(--bad-back); border-color: var(--bad); }
.passed b { color: var(--good); } .failed b { color: var(--bad); }
.note { color: var(--soft); font-size: 14px; }
dl { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: 4px 20px;
  margin: 16px 0; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
.wide { overflow-x: auto; margin: 8px 0; }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: 3px 14px 3px 0; border-bottom: 1px solid var(--line);
  vertical-align: top; white-space: nowrap; }
th { color: var(--soft); font-weight: 500; }
td.words { white-space: normal; min-width: 180px; overflow-wrap: anywhere; }
.number { text-align: right; }
td.good { color: var(--good); } td.bad { color: var(--bad); } td.warn { color: var(--warn); }
table.grid td, table.grid th { padding: 2px 7px; text-align: center; }
table.grid .words { text-align: left; min-width: 0; }
table.grid td:first-child, table.grid th:first-child { text-align: left; padding-left: 0; }
table.grid td.good { background: var(--good-back); }
table.grid td.bad { background: var(--bad-back); font-weight: 700; }
table.grid td.warn { background: var(--warn-back); font-weight: 700; }
details { margin: 10px 0; } summary { cursor: pointer; font-weight: 500; }
svg { width: 100%; max-width: 800px; height: auto; background: var(--panel); border-radius: 8px; }
svg text { fill: var(--soft); font-size: 14px; }
svg .axis { stroke: var(--line); fill: none; } svg .ink { fill: var(--ink); }
svg .one { stroke: var(--one); } svg .two { stroke: var(--two); }
svg text.one { fill: var(--one); stroke: none; } svg text.two { fill: var(--two); stroke: none; }
svg .curve { fill: none; stroke-width: 2; }
svg .dot { stroke-width: 2; fill: var(--panel); } svg .full.one { fill: var(--one); }
svg .full.two { fill: var(--two); } svg .bar { stroke-dasharray: 6 5; stroke-width: 1.5; }
svg .off { stroke: var(--bad); fill: none; stroke-width: 2.5; }
"""
