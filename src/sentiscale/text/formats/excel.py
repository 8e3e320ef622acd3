"""Excel and OpenDocument workbooks: the first sheet, whose first row that is not empty is the header."""

import io
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, time
from itertools import islice
from typing import Any

import pyarrow as pa

from sentiscale.config import PrepareSettings
from sentiscale.errors import DataError
from sentiscale.text.formats.base import FileStart, LabelMode, TableFormat, choose_columns
from sentiscale.text.formats.parquet import Parquet
from sentiscale.util.storage import open_file

ROWS_PER_BATCH = 4096
MOST_BYTES = 200 * 2**20
"""Maximum size of a workbook, which is read into memory as a whole."""
ZIP, OLD = b"PK\x03\x04", b"\xd0\xcf\x11\xe0"


class Excel(Parquet):
    """Reads the cells of a sheet as text."""

    name = "excel"
    title = "Excel"
    suffixes = (".xlsx", ".xls", ".ods")

    def recognises(self, start: bytes) -> bool:
        """Return whether a zip archive contains the parts of a workbook."""
        return start.startswith(ZIP) and (b"xl/" in start or b"opendocument.spreadsheet" in start[:200])

    def describe(self, start: FileStart, settings: PrepareSettings, mode: LabelMode) -> TableFormat:
        path = start.path
        if not start.data.startswith((ZIP, OLD)):
            raise DataError(f"{path} is not an Excel workbook. Name its format, such as --format csv.")
        if start.pipe or start.compression:
            raise DataError(f"{path} is a workbook in a pipe or compressed file. Give the workbook itself.")
        filled = ((place, row) for place, row in enumerate(_rows(path)) if any(map(_text, row)))
        before, header = next(filled, (0, []))
        columns = tuple(_text(cell) or "" for cell in header)
        table = choose_columns(self.name, path, columns, settings, mode)
        return replace(table, columns=columns, lines_before=before + 1)

    def schema(self, path: str, table: TableFormat | None = None) -> pa.Schema:
        assert table is not None
        return pa.schema([(name, pa.large_string()) for name in table.columns])

    def batches(self, path: str, table: TableFormat, block_bytes: int) -> Iterator[tuple[bytes, int]]:
        schema = self.schema(path, table)
        rows = islice(_rows(path), table.lines_before, None)
        while batch := list(islice(rows, ROWS_PER_BATCH)):
            cells = ([_text(row[place]) for row in batch] for place in range(len(schema)))
            columns = [pa.array(column, pa.large_string()) for column in cells]
            sink = pa.BufferOutputStream()
            with pa.ipc.new_stream(sink, schema) as writer:
                writer.write_table(pa.Table.from_arrays(columns, schema=schema))
            yield sink.getvalue().to_pybytes(), 0


def sheet_names(path: str) -> list[str]:
    return list(_workbook(path).sheet_names)


def _rows(path: str) -> Iterator[list[Any]]:
    """Yield the rows of the first sheet.

    Raises: DataError when the workbook cannot be read.
    """
    try:
        yield from _workbook(path).get_sheet_by_index(0).iter_rows()
    except (OSError, ValueError, IndexError) as error:
        raise DataError(f"{path} cannot be read as a workbook: {error}. Save it as CSV (UTF-8).") from error


def _workbook(path: str) -> Any:
    try:
        import python_calamine
    except ImportError as error:
        raise DataError(
            f"{path} is an Excel workbook. Read it after pip install 'sentiscale[excel]', or save it as CSV "
            "(UTF-8)."
        ) from error
    with open_file(path) as file:
        data = file.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise DataError(f"{path} is larger than {MOST_BYTES // 2**20} MB. Save it as CSV (UTF-8).")
    try:
        return python_calamine.CalamineWorkbook.from_filelike(io.BytesIO(data))
    except (python_calamine.CalamineError, OSError) as error:
        raise DataError(f"{path} cannot be read as a workbook: {error}. Save it as CSV (UTF-8).") from error


def _text(cell: Any) -> str | None:
    """Return the text of a cell, with whole numbers without decimals; None for an empty cell."""
    if isinstance(cell, bool):
        return str(cell).lower()
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    if isinstance(cell, date | time):
        return cell.isoformat()
    return None if cell == "" else str(cell)
