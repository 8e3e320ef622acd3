"""Reviews that come as lines: from files, and from a pipe or a keyboard that may pause."""

import os
import select
import sys
from collections.abc import Callable, Iterator

from sentiscale.text.formats import MAX_RECORD_BYTES

BLOCK_BYTES = 2**22
"""Bytes that are labelled together: some 10,000 reviews."""
PAUSE_SECONDS = 0.05
"""A pipe that gives nothing for so long is not waited for: what has come is labelled."""

LF = b"\n"


def whole_lines(read: Callable[[], bytes]) -> Iterator[bytes]:
    """Blocks of whole lines out of what `read` gives, until it gives nothing.

    Of a line beyond 16 MB only the beginning is kept, so that memory stays bounded. No model reads as much.
    """
    rest, skipping = b"", False
    while data := read():
        if skipping:
            end = data.find(LF)
            if end < 0:
                continue
            data, skipping = data[end:], False
        end = data.rfind(LF) + 1
        if end:
            yield rest + data[:end]
            rest = b""
        rest += data[end:]
        if len(rest) > MAX_RECORD_BYTES:
            rest, skipping = rest[:MAX_RECORD_BYTES], True
    if rest:
        yield rest


def standard_input() -> Callable[[], bytes]:
    """A reader of standard input that gives what is there when nothing more comes for a moment."""
    try:
        descriptor = sys.stdin.fileno()
    except (OSError, ValueError):  # not a file of the system, as in a test
        return lambda: sys.stdin.buffer.read(BLOCK_BYTES)
    return lambda: what_comes(descriptor)


def what_comes(descriptor: int) -> bytes:
    """The next bytes of an open file or pipe: a block, or what there is when it pauses; empty at the end."""
    parts = [os.read(descriptor, BLOCK_BYTES)]
    size = len(parts[0])
    while parts[-1] and size < BLOCK_BYTES:
        if not select.select([descriptor], [], [], PAUSE_SECONDS)[0]:
            break
        parts.append(os.read(descriptor, BLOCK_BYTES - size))
        size += len(parts[-1])
    return b"".join(parts)
