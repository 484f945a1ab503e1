"""Tables become cells: spreadsheets and text, as whatever program wrote them.

Cells are text. A spreadsheet is an archive of XML, so what it would unpack to is looked at first, and no more rows and
columns are taken than an annotation can have: one cell in the last row makes a million rows.
"""

import csv
import io
import warnings
from pathlib import Path
from typing import Any

from mer_search.errors import DataError
from mer_search.files import check_archive, content_of

MAX_BYTES = 32 << 20  # bytes of a table, of a spreadsheet unpacked; the datasets' own have a hundredth
ROWS, COLUMNS = 20_000, 200  # that are looked at
BYTE_ORDERS = (b"\xff\xfe", b"\xfe\xff")  # what a text in UTF-16 begins with


def read_table(path: Path, tab: str = "") -> list[list[str]]:
    """The cells, as text, of a spreadsheet (.xlsx; its sheet `tab`, else the first), or of a text with commas,
    semicolons or tabs, whatever its encoding; a DataError if it is no such file, or too large for one."""
    try:
        content = content_of(path, MAX_BYTES)
        return _spreadsheet(path, content, tab) if path.suffix.lower() == ".xlsx" else _text(content)
    except DataError:
        raise
    except Exception as error:  # csv, zipfile, zlib, expat and openpyxl each have their own
        reason = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise DataError(f"{path} must be a readable table, but is not ({reason}); write it anew") from error


def _text(content: bytes) -> list[list[str]]:
    try:
        text = content.decode("utf-16" if content.startswith(BYTE_ORDERS) else "utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("latin-1")  # which a spreadsheet program writes on an older system
    if "\0" in text:
        raise ValueError("it holds a zero byte")
    lines = io.StringIO(text, newline=None)
    # Strict: a quotation mark that is never closed would swallow the rows below it.
    return list(csv.reader(lines, delimiter=max(",;\t", key=text.count), strict=True))


def _spreadsheet(path: Path, content: bytes, tab: str) -> list[list[str]]:
    import openpyxl  # slow to load: not in every process

    check_archive(path, MAX_BYTES)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what a table is formatted with
        book = openpyxl.load_workbook(io.BytesIO(content), read_only=True, data_only=True)
        try:
            named = [sheet for sheet in book.worksheets if sheet.title.strip().lower() == tab.lower()]
            sheet = (named or book.worksheets)[0]
            sheet.reset_dimensions()  # a program may have written wrong ones
            rows = sheet.iter_rows(max_row=ROWS, max_col=COLUMNS, values_only=True)
            return [[_cell(value) for value in row] for row in rows]
        finally:
            book.close()


def _cell(value: Any) -> str:
    """A cell as it is shown: 12 for 12.0, nothing for an empty one."""
    whole = isinstance(value, float) and value.is_integer()
    return "" if value is None else str(int(value) if whole else value)
