"""Refuse files that are no text of reviews, with the command that turns them into a readable file."""

import re
import shlex

from sentiscale.errors import DataError
from sentiscale.text.formats.base import FileStart
from sentiscale.util.storage import split_member

WITH_PANDAS = (
    "Convert it: python3 -c \"import pandas; pandas.read_{}('{{path}}').to_parquet('reviews.parquet')\""
)

BINARY = {
    rb"PK\x03\x04.{26,4000}word/": ("a Word document", "Save it as plain text (UTF-8)"),
    rb"PK\x03\x04|PK\x07\x08": ("a zip archive", "Unpack it: unzip {quoted}"),
    rb"PK\x05\x06": ("an empty zip archive", "Get it again"),
    rb"7z\xbc\xaf": ("a 7z archive", "Unpack it: 7z x {quoted}"),
    rb"Rar!\x1a": ("a RAR archive", "Unpack it: unrar x {quoted}"),
    rb"\x04\x22\x4d\x18": ("compressed with lz4", "Decompress it: lz4 -d {quoted}"),
    rb"\x1f\x9d": ("compressed with compress", "Decompress it: gzip -d {quoted}"),
    rb"LZIP\x01": ("compressed with lzip", "Decompress it: lzip -d {quoted}"),
    rb"\xd0\xcf\x11\xe0": ("an old Word or Excel file", "Save it as CSV (UTF-8)"),
    rb"%PDF-": ("a PDF", "Extract its text: pdftotext {quoted}"),
    rb"ARROW1\0|FEA1": ("an Arrow or Feather file", WITH_PANDAS.format("feather")),
    rb"\x89HDF": ("an HDF5 file", WITH_PANDAS.format("hdf")),
    rb"SQLite format 3\0": (
        "an SQLite database",
        "Write a table as CSV: sqlite3 -header -csv {quoted} 'select * from TABLE' > reviews.csv",
    ),
    rb"Obj\x01": ("an Avro file", "Write it as Parquet or JSON lines"),
    rb"\x80[\x02-\x05]": ("a Python pickle", "If you trust its author, load it and write it as Parquet"),
    rb"\x93NUMPY": ("a NumPy array", "Give the file with the texts"),
    rb"\x89PNG|\xff\xd8\xff|GIF8[79]a": ("a picture", "Give the file with the texts"),
}
"""Patterns of the first bytes of files that are not text: what such a file is, and what to do."""

MARKUP = {
    rb"version https://git-lfs": (
        "a Git LFS pointer instead of the file",
        "Get the file: git lfs pull --include {name}",
    ),
    rb"\s*(<!doctype html|<html)": ("a web page, such as a login or error page", "Download the file itself"),
    rb"\s*<\?xml": ("XML", "Write it as CSV or JSON lines"),
    rb"\s*<[a-z][\w:.-]*\s[^<>]*\bxmlns\b": ("XML", "Write it as CSV or JSON lines"),
    rb"\s*<(?!(?:p|div|span|blockquote)\b)(?P<tag>[a-z][\w:.-]*)(?:\s[^<>]*)?>\s*\n"
    rb"(?:.*\n)?\s*</(?P=tag)>\s*(?:\n|\Z)": ("XML without a declaration", "Write it as CSV or JSON lines"),
    rb"\{\\rtf": ("an RTF document", "Save it as plain text (UTF-8)"),
}
"""The same for files that are text; if the user names the format, they are read."""

LOOKED_AT = 2**16
FOREIGN = re.compile(b"|".join(b"(?:%s)" % each for each in BINARY | MARKUP), re.IGNORECASE | re.DOTALL)
"""All patterns in one, because folders have many files."""
MOST_CONTROL = 0.05
CONTROL = bytes(byte for byte in range(32) if byte not in b"\t\n\v\f\r\x1a\x1b")


def refuse_foreign(start: FileStart, *, named: bool) -> None:
    """Raise DataError when a file is not text of reviews; `named` is whether the user named its format."""
    patterns = BINARY if named else BINARY | MARKUP
    archive, path = split_member(start.path) or (None, start.path)
    first = f"Unpack {archive} first. " if archive else ""
    for pattern, (kind, remedy) in patterns.items() if FOREIGN.match(start.data) else ():
        if re.match(pattern, start.data, re.IGNORECASE | re.DOTALL):
            names = {"path": path, "quoted": shlex.quote(path), "name": shlex.quote(start.name)}
            raise DataError(f"{start.path} is {kind}. {first}{remedy.format(**names)}.")
    sample = start.data[:LOOKED_AT]
    control = len(sample) - len(sample.translate(None, CONTROL))
    if not named and control > MOST_CONTROL * len(sample):
        raise DataError(
            f"{start.path} is not text: {100 * control / len(sample):.0f} % of its first bytes are control "
            f"characters. Allowed: UTF-8, UTF-16, UTF-32, or the encoding that --encoding NAME names."
        )
