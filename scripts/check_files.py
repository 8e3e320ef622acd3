"""Refuse what should not be committed: large files, conflict markers, text that does not end in one newline.

Usage: python scripts/check_files.py FILE...   Prints a line for each fault; exits with 1 if there is one.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

MOST_BYTES = 1_000_000
MARKER = re.compile(rb"^(<{7} |>{7} |\|{7} |={7}$)", re.MULTILINE)


def faults(path: Path) -> Iterator[str]:
    """Sentences that say what is wrong with a file and what to do."""
    content = path.read_bytes()
    if len(content) > MOST_BYTES:
        yield f"{path}: {len(content):,} bytes; at most {MOST_BYTES:,} are kept here. Leave it out."
    if b"\0" in content:  # no text
        return
    for found in MARKER.finditer(content):
        line = content.count(b"\n", 0, found.start()) + 1
        yield f"{path}:{line}: a conflict marker. Finish the merge."
    if content and not content.endswith(b"\n"):
        yield f"{path}: does not end in a newline. Add one."
    if content.endswith(b"\n\n"):
        yield f"{path}: ends in blank lines. Delete them."


def main(names: list[str]) -> int:
    """Check the named files; directories and deleted files are skipped."""
    found = [fault for path in map(Path, names) if path.is_file() for fault in faults(path)]
    sys.stdout.write("".join(f"{fault}\n" for fault in found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
