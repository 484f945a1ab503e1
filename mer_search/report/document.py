"""A document: sections of sentences, tables and pictures, as one HTML page that needs nothing else, or as Markdown."""

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment, StrictUndefined

from mer_search.files import write_whole


class Text(NamedTuple):
    """A paragraph; a warning stands out."""

    text: str
    warning: bool = False


class Code(NamedTuple):
    """Lines as they are."""

    text: str


class Table(NamedTuple):
    """Rows of cells; the first `left` columns are words, the others numbers. For a terminal, a page and Markdown."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    left: int = 1
    strong: int | None = None  # the row that stands out
    title: str = ""  # on a terminal; on a page the words around it say it


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
    """One page, by the template beside this file."""
    page = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined)
    page.filters["base64"] = lambda png: base64.b64encode(png).decode()
    page.filters["kind"] = lambda block: type(block).__name__
    return page.from_string(Path(__file__).with_name("page.html").read_text()).render(document=document)


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
                parts.append(markdown_table(block))
    return parts


def _markdown_sheet(sheet: Sheet, path: Path) -> list[str]:
    parts = []
    for row, tile in enumerate(sheet.tiles, 1):
        parts.append(f"**{tile.title}** {tile.text}")
        pictures = [Picture(f"{sheet.name}-{row}-{column}", *each) for column, each in enumerate(tile.pictures, 1)]
        if pictures:
            parts.append(markdown_table(Table([each.caption for each in pictures], [_markdown(pictures, path)])))
    return parts


def markdown_table(table: Table) -> str:
    """Its lines, and its caption under them."""

    def row(cells: Sequence[str], strong: bool = False) -> str:
        words = (cell.replace("|", "\\|") for cell in cells)
        return f"| {' | '.join(f'**{word}**' if strong and word else word for word in words)} |"

    rule = ["---"] * table.left + ["---:"] * (len(table.head) - table.left)
    rows = [row(cells, number == table.strong) for number, cells in enumerate(table.rows)]
    text = "\n".join([row(table.head), row(rule), *rows])
    return f"{text}\n\n{table.caption}" if table.caption else text
