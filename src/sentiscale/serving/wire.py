"""Messages between the front process and its workers: a length of four bytes, then JSON. No pickle."""

import asyncio
import json
from io import BufferedRWPair
from typing import Any

LENGTH_BYTES = 4
MOST_BYTES = 2**28
"""No message is larger; a length beyond it means that the stream is out of step."""

Message = dict[str, Any]


def packed(message: Message) -> bytes:
    """The bytes of one message."""
    content = json.dumps(message, separators=(",", ":")).encode()
    return len(content).to_bytes(LENGTH_BYTES, "big") + content


async def receive(reader: asyncio.StreamReader) -> Message:
    """The next message.

    Raises: EOFError when the other side has gone.
    """
    size = int.from_bytes(await reader.readexactly(LENGTH_BYTES), "big")
    return _parsed(await reader.readexactly(_checked(size)))


def receive_blocking(stream: BufferedRWPair) -> Message | None:
    """The next message, or None when the other side has gone."""
    head = stream.read(LENGTH_BYTES)
    if len(head) < LENGTH_BYTES:
        return None
    size = _checked(int.from_bytes(head, "big"))
    content = stream.read(size)
    return _parsed(content) if len(content) == size else None


def _checked(size: int) -> int:
    if size > MOST_BYTES:
        raise EOFError(f"a message of {size} bytes was announced; at most {MOST_BYTES} are allowed.")
    return size


def _parsed(content: bytes) -> Message:
    message: Message = json.loads(content)
    return message
