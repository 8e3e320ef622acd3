"""Prepare reviews in a format that sentiscale does not read: turn them into JSON lines on the way in.

Format:  that of the SNAP collections (Amazon fine foods, BeerAdvocate, RateBeer): a line is
         `review/KEY: VALUE` or `product/KEY: VALUE`, a blank line ends a review; often in Latin-1
Run:     set -o pipefail
         python examples/add_an_input_format.py finefoods.txt.gz | sentiscale prepare - --out data
Memory:  one review, whatever the size of the file
Mind:    rejects.parquet counts the lines of the pipe, one a review, not those of the file. If this program
         fails half-way, `prepare` has seen a shorter input and cannot know: pipefail tells, or write a file.
"""

import argparse
import gzip
import json
import re
import sys
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

FIELD = re.compile(r"((?:product|review)/\w+): ?(.*)")


def reviews(lines: Iterable[str]) -> Iterator[dict[str, str]]:
    """The fields of each review, in the order of the file; a line without a key goes on with the last one."""
    fields: dict[str, str] = {}
    last = ""
    for line in lines:
        text = line.rstrip("\r\n")
        if found := FIELD.fullmatch(text):
            last = found[1]
            fields[last] = found[2]
        elif text.strip() and last:
            fields[last] += f" {text}"
        elif not text.strip() and fields:
            yield fields
            fields, last = {}, ""
    if fields:
        yield fields


def as_json(fields: dict[str, str]) -> str:
    """One line, under names that `prepare` looks for by itself; it rejects and counts what is missing."""
    document = {
        "stars": fields.get("review/score"),
        "title": fields.get("review/summary"),
        "text": fields.get("review/text"),
        "product": fields.get("product/productId"),
    }
    return json.dumps(document, ensure_ascii=False)


def main() -> None:
    """Read the file, write JSON lines."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path, help="a file of reviews, also .gz")
    parser.add_argument("--encoding", default="latin-1")
    given = parser.parse_args()
    sys.stdout.reconfigure(encoding="utf-8")
    opened = gzip.open if given.file.suffix == ".gz" else open
    written = 0
    try:
        with opened(given.file, "rt", encoding=given.encoding) as lines:
            for fields in reviews(lines):
                print(as_json(fields))  # noqa: T201
                written += 1
    except (OSError, EOFError, ValueError, zlib.error) as error:
        sys.exit(f"{given.file} cannot be read after {written:,} reviews: {error}.")
    if not written:
        sys.exit(f"{given.file} holds no review: no line begins with review/ or product/ and a key.")


if __name__ == "__main__":
    main()
