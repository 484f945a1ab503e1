"""A document: sections of sentences, tables and pictures, as one HTML page that needs nothing else, or as Markdown."""

import base64
import html
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from mer_search.files import write_whole

STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { line-height: 1.2; } h2 { margin-top: 2.5rem; border-bottom: 1px solid #8885; }
nav { columns: 14rem; margin: 1.5rem 0; } nav a { display: block; } .scroll { overflow-x: auto; }
table { border-collapse: collapse; } caption { caption-side: bottom; text-align: left; color: GrayText; }
th, td { padding: .25rem .8rem; text-align: left; border-bottom: 1px solid #8885; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
tr.strong { font-weight: bold; } figure { margin: 1rem 0; } figcaption { color: GrayText; }
img { max-width: 100%; background: white; border-radius: .3rem; }
figure.sheet b { display: block; } .tile { min-width: 11.5rem; }
.tiles { display: flex; flex-wrap: wrap; gap: 1.2rem 1.5rem; margin-bottom: .8rem; }
.tile p { margin: 0 0 .3rem; width: 0; min-width: 100%; line-height: 1.3; overflow-wrap: anywhere; }
.strip { display: flex; flex-wrap: wrap; gap: .3rem; }
.strip span { width: 5.6rem; font-size: .75rem; line-height: 1.2; } .strip img { display: block; width: 100%; }
pre { overflow-x: auto; background: #8882; padding: .8rem; border-radius: .3rem; }
.warning { border-left: .3rem solid orange; padding-left: .8rem; }
@media print { body { max-width: none; margin: 0; font-size: 11pt; } nav { display: none; }
  figure, tr, .tile { break-inside: avoid; } .sheet { break-inside: auto; } .strip span { width: 4.4rem; }
  h2 { break-after: avoid; } pre { white-space: pre-wrap; } }
"""


class Text(NamedTuple):
    """A paragraph; a warning stands out."""

    text: str
    warning: bool = False


class Code(NamedTuple):
    """Lines as they are."""

    text: str


class Table(NamedTuple):
    """Rows of cells; the first `left` columns are words, the others numbers."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    left: int = 1
    strong: int | None = None  # the row that stands out


class Picture(NamedTuple):
    """A PNG, with what it shows in words."""

    name: str  # of its file
    caption: str
    png: bytes


class Tile(NamedTuple):
    """One thing on a contact sheet: a strip of small pictures, and what is said of it."""

    title: str
    text: str
    pictures: Sequence[tuple[str, bytes]]  # (label, PNG)


class Sheet(NamedTuple):
    """A contact sheet: as many tiles side by side as there is room for."""

    name: str  # of its pictures' files
    caption: str
    tiles: Sequence[Tile]


Block = Text | Code | Table | Picture | Sheet


class Section(NamedTuple):
    """What stands under one heading."""

    title: str
    blocks: Sequence[Block]


class Document(NamedTuple):
    """Sections under one title; the first has none of its own in the list of contents."""

    title: str
    lead: Sequence[Block]
    sections: Sequence[Section]


def to_html(document: Document) -> str:
    """One page: style and pictures are within it."""
    title = html.escape(document.title)
    links = "".join(
        f'<a href="#part-{number}">{html.escape(section.title)}</a>' for number, section in enumerate(document.sections)
    )
    body = "".join(
        f'<section id="part-{number}"><h2>{html.escape(section.title)}</h2>{_html(section.blocks)}</section>\n'
        for number, section in enumerate(document.sections)
    )
    contents = f"<nav>{links}</nav>" if len(document.sections) > 3 else ""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<link rel="icon" href="data:,"><title>{title}</title><style>{STYLE}</style></head>\n'
        f"<body><h1>{title}</h1>{_html(document.lead)}{contents}\n{body}</body></html>\n"
    )


def _html(blocks: Sequence[Block]) -> str:
    return "\n".join(map(_block, blocks))


def _block(block: Block) -> str:
    match block:
        case Text(text, warning):
            return f"<p{' class=warning' if warning else ''}>{html.escape(text)}</p>"
        case Code(text):
            return f"<pre>{html.escape(text)}</pre>"
        case Picture(_, caption, png):
            return f"<figure>{_image(caption, png)}<figcaption>{html.escape(caption)}</figcaption></figure>"
        case Sheet(_, caption, tiles):
            return (
                f'<figure class="sheet"><div class="tiles">{"".join(map(_tile, tiles))}</div>'
                f"<figcaption>{html.escape(caption)}</figcaption></figure>"
            )
        case Table():
            return _table(block)


def _image(words: str, png: bytes) -> str:
    return f'<img alt="{html.escape(words)}" src="data:image/png;base64,{base64.b64encode(png).decode()}">'


def _tile(tile: Tile) -> str:
    strip = "".join(
        f"<span>{_image(f'{tile.title}: {label}', png)}{html.escape(label)}</span>" for label, png in tile.pictures
    )
    return (
        f'<div class="tile"><p><b>{html.escape(tile.title)}</b> {html.escape(tile.text)}</p>'
        f'<div class="strip">{strip}</div></div>'
    )


def _table(table: Table) -> str:
    def row(cells: Sequence[str], tag: str, strong: bool = False) -> str:
        inner = "".join(
            f"<{tag}{' class=number' if place >= table.left else ''}>{html.escape(cell)}</{tag}>"
            for place, cell in enumerate(cells)
        )
        return f"<tr{' class=strong' if strong else ''}>{inner}</tr>"

    caption = f"<caption>{html.escape(table.caption)}</caption>" if table.caption else ""
    body = "".join(row(cells, "td", number == table.strong) for number, cells in enumerate(table.rows))
    inner = f"{caption}<thead>{row(table.head, 'th')}</thead><tbody>{body}</tbody>"
    return f'<div class="scroll"><table>{inner}</table></div>'


def write_markdown(document: Document, path: Path) -> None:
    """The document as Markdown, its pictures beside it in a folder of the same name."""
    parts = [f"# {document.title}", *_markdown(document.lead, path)]
    for section in document.sections:
        parts += [f"## {section.title}", *_markdown(section.blocks, path)]
    write_whole(path, "\n\n".join(parts) + "\n")


def _markdown(blocks: Sequence[Block], path: Path) -> list[str]:
    parts = []
    for block in blocks:
        match block:
            case Text(text, warning):
                parts.append(f"> **{text}**" if warning else text)
            case Code(text):
                parts.append(f"```\n{text.rstrip()}\n```")
            case Picture(name, caption, png):
                write_whole(path.with_suffix("") / f"{name}.png", png)
                parts.append(f"![{caption}]({path.stem}/{name}.png)")
            case Sheet():
                parts += [*_markdown_sheet(block, path), block.caption]
            case Table():
                parts.append(_markdown_table(block))
    return parts


def _markdown_sheet(sheet: Sheet, path: Path) -> list[str]:
    parts = []
    for row, tile in enumerate(sheet.tiles, 1):
        parts.append(f"**{tile.title}** {tile.text}")
        pictures = [Picture(f"{sheet.name}-{row}-{column}", *each) for column, each in enumerate(tile.pictures, 1)]
        if pictures:
            parts.append(_markdown_table(Table([each.caption for each in pictures], [_markdown(pictures, path)])))
    return parts


def _markdown_table(table: Table) -> str:
    def row(cells: Sequence[str], strong: bool = False) -> str:
        words = (cell.replace("|", "\\|") for cell in cells)
        return f"| {' | '.join(f'**{word}**' if strong and word else word for word in words)} |"

    rule = ["---"] * table.left + ["---:"] * (len(table.head) - table.left)
    rows = [row(cells, number == table.strong) for number, cells in enumerate(table.rows)]
    text = "\n".join([row(table.head), row(rule), *rows])
    return f"{text}\n\n{table.caption}" if table.caption else text
