"""The page at `/` and that of the interface at `/docs`: files read once, at the start.

No path of a request ever reaches the file system: it is looked up among the names read then.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
KINDS = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".json": "application/json",
    ".webmanifest": "application/manifest+json",
}


@dataclass(frozen=True)
class File:
    """One file in memory."""

    content: bytes
    kind: str
    tag: str
    """Its ETag."""


def read_files(folder: Path) -> dict[str, File]:
    """The files of a folder by name; those of other kinds and folders in it are left out."""
    files = {}
    for path in sorted(folder.glob("*")):
        if path.suffix in KINDS and path.is_file():
            content = path.read_bytes()
            tag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
            files[path.name] = File(content, KINDS[path.suffix], tag)
    return files
