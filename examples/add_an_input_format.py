"""Teach sentiscale another input format: one class, and one entry in the registry of formats.

Format:   that of the SNAP collections (Amazon fine foods, BeerAdvocate, RateBeer): a line is
          `review/KEY: VALUE` or `product/KEY: VALUE`, a blank line ends a review, in Latin-1
Run:      python examples/add_an_input_format.py finefoods.txt.gz --out data
Built in: as src/sentiscale/text/formats/snap.py, with Snap() among FORMATS; then every verb reads it, also in
          other processes and on a cluster
"""

import argparse
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sentiscale import prepare
from sentiscale.config import PrepareSettings
from sentiscale.errors import DataError, SentiscaleError
from sentiscale.text.compiled import Bytes, frozen
from sentiscale.text.formats import FORMATS
from sentiscale.text.formats.base import Columns, FileStart, InputFormat, LabelMode, TableFormat, join_title
from sentiscale.text.labels import Reason
from sentiscale.text.lines import gather, line_spans, trimmed

KEY = rb"(?:product|review)/\w+: "


class Snap(InputFormat):
    name = "snap"
    title = "SNAP reviews (review/text: …)"
    suffixes = (".snap",)
    one_record_per_line = False

    def recognises(self, start: bytes) -> bool:
        return re.match(KEY, start) is not None

    def describe(self, start: FileStart, settings: PrepareSettings, mode: LabelMode) -> TableFormat:
        keys = dict.fromkeys(key.decode()[:-2] for key in re.findall(rb"^" + KEY, start.data, re.MULTILINE))
        if "review/text" not in keys:
            raise DataError(f"{start.path} has no line that begins with review/text.")
        title = "review/summary" if "review/summary" in keys else None
        label = "review/score" if mode != "none" else None
        return TableFormat(self.name, "review/text", title, label, stars=True, columns=tuple(keys))

    def last_record_end(self, data: bytes, table: TableFormat) -> int:
        blank = max(data.rfind(b"\n\n"), data.rfind(b"\n\r\n"))
        return data.index(b"\n", blank + 1) + 1 if blank >= 0 else 0

    def parse(self, data: Bytes, table: TableFormat) -> Columns:
        data = frozen(data.tobytes().decode("latin-1").encode())
        starts, ends = line_spans(data)
        inner, last = trimmed(data, starts, ends)
        filled = last > inner
        first_lines = np.flatnonzero(filled & ~np.append(False, filled[:-1]))
        last_lines = np.flatnonzero(filled & ~np.append(filled[1:], False))
        records = gather(data, starts[first_lines], ends[last_lines])

        def value(key: str) -> pa.Array:
            """A field of every record; a line without a key continues the field before it."""
            pattern = rf"(?s)(?:^|\n){key}: (?P<value>.*?)\r?(?:\n(?:product|review)/\w+: |$)"
            return pc.struct_field(pc.extract_regex(records, pattern), "value")

        extra = None
        if table.extra is not None:
            values = [
                value(name).cast(kind)
                for name, kind in zip(table.extra.names, table.extra.types, strict=True)
            ]
            extra = pa.Table.from_arrays(values, schema=table.extra)
        return Columns(
            text=join_title(value(table.text), value(table.title) if table.title else None),
            label=value(table.label) if table.label else None,
            lines=first_lines,
            line_count=len(starts),
            faults=np.full(len(records), Reason.NONE, np.uint8),
            extra=extra,
        )


FORMATS[Snap.name] = Snap()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path, help="a file of reviews, also compressed")
    parser.add_argument("--out", type=Path, required=True, help="directory to write")
    arguments = parser.parse_args()
    try:
        dataset = prepare(arguments.file, arguments.out)
    except SentiscaleError as error:
        parser.exit(error.exit_code, f"{error}\n")
    print(f"{arguments.out}: {dataset.manifest.labels}, rejected {dataset.manifest.rejected['by_reason']}")  # noqa: T201


if __name__ == "__main__":
    main()
