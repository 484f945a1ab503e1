"""A document: sections of sentences, tables and pictures, as one HTML page that needs nothing else, or as Markdown."""

import base64
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from mer_search.files import write_whole

Tone = Literal["", "good", "unsure", "bad"]
Cell = str | int | float | None


class Text(NamedTuple):
    """A paragraph; one with a tone stands out in its colour, and begins with the answer to a question, its lead."""

    text: str
    tone: Tone = ""
    lead: str = ""


class Code(NamedTuple):
    """Lines as they are, to copy."""

    text: str
    title: str = ""


class Table(NamedTuple):
    """Rows of cells; the first `left` columns are words, the others numbers."""

    head: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    caption: str = ""
    left: int = 1
    strong: int | None = None  # the row that stands out
    title: str = ""  # on a terminal; on a page the words around it say it

    @property
    def cells(self) -> list[tuple[str, ...]]:
        """Its rows as they are shown: of a float three decimals, of None nothing."""
        return [
            tuple(decimals(cell) if isinstance(cell, float | None) else str(cell) for cell in row) for row in self.rows
        ]

    def without_empty(self) -> "Table":
        """Without the columns that no row fills."""
        filled = [place for place, cells in enumerate(zip(*self.cells, strict=True)) if any(cells)]
        rows = [[row[place] for place in filled] for row in self.rows]
        return self._replace(head=[self.head[place] for place in filled], rows=rows)


class Picture(NamedTuple):
    """Charts side by side, with what they show in words."""

    name: str  # of its files
    caption: str
    drawings: Sequence[Callable[[str], bytes]]  # "svg", "png" or "pdf" -> the file's content

    def files(self) -> dict[str, Callable[[str], bytes]]:
        """Its drawings by the names of their files."""
        if len(self.drawings) == 1:
            return {self.name: self.drawings[0]}
        return {f"{self.name}-{number}": drawing for number, drawing in enumerate(self.drawings, 1)}


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
    """Sections under one title. The lead is what a reader sees first; it has no heading."""

    title: str
    lead: Sequence[Block]
    sections: Sequence[Section]


def to_html(document: Document) -> str:
    """One page, by the template beside this file."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup, escape

    page = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined)
    page.filters["base64"] = lambda png: base64.b64encode(png).decode()
    page.filters["kind"] = lambda block: type(block).__name__
    page.filters["svg"] = lambda drawing: Markup(drawing("svg").decode())  # noqa: S704 (from figures, which escapes)
    page.filters["words"] = lambda text: Markup(re.sub("`([^`]+)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704
    return page.from_string(Path(__file__).with_name("page.html").read_text()).render(document=document)


def write_document(document: Document, page: Path) -> Path:
    """The page, the same as Markdown, and beside them, in a folder of their name, every picture as PNG, charts as PDF,
    too."""
    parts = [f"# {document.title}", *_markdown(document.lead, page)]
    for section in document.sections:
        parts += [f"## {section.title}", *_markdown(section.blocks, page)]
    write_whole(page.with_suffix(".md"), "\n\n".join(parts) + "\n")
    write_whole(page, to_html(document))
    return page


def _markdown(blocks: Sequence[Block], page: Path) -> list[str]:
    """The blocks' paragraphs, their pictures written."""

    def image(name: str, caption: str, png: bytes) -> str:
        write_whole(page.with_suffix("") / f"{name}.png", png)
        return f"![{caption}]({page.stem}/{name}.png)"

    parts = []
    for block in blocks:
        match block:
            case Text(text, tone, lead):
                parts.append(f"> **{lead}** {text}" if lead else f"> **{text}**" if tone else text)
            case Code(text, title):
                parts.append(f"{title}\n\n```\n{text.rstrip()}\n```".lstrip())
            case Picture():
                for name, drawing in block.files().items():
                    write_whole(page.with_suffix("") / f"{name}.pdf", drawing("pdf"))
                    parts.append(image(name, block.caption, drawing("png")))
            case Sheet():
                for row, tile in enumerate(block.tiles, 1):
                    parts.append(f"**{tile.title}** {tile.text}")
                    images = [
                        image(f"{block.name}-{row}-{column}", label, png)
                        for column, (label, png) in enumerate(tile.pictures, 1)
                    ]
                    if images:
                        parts.append(markdown_table(Table([label for label, _ in tile.pictures], [images])))
                parts.append(block.caption)
            case Table():
                parts.append(markdown_table(block))
    return parts


def decimals(score: float | None, digits: int = 3) -> str:
    """As many decimals; nothing for None."""
    return "" if score is None else f"{score:.{digits}f}"


def markdown_table(table: Table) -> str:
    """Its lines, and its caption under them."""

    def row(cells: Sequence[str], strong: bool = False) -> str:
        words = (cell.replace("|", "\\|") for cell in cells)
        return f"| {' | '.join(f'**{word}**' if strong and word else word for word in words)} |"

    rule = ["---"] * table.left + ["---:"] * (len(table.head) - table.left)
    rows = [row(cells, number == table.strong) for number, cells in enumerate(table.cells)]
    text = "\n".join([row(table.head), row(rule), *rows])
    return f"{text}\n\n{table.caption}" if table.caption else text
