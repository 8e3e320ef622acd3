"""One worker process as the front sees it: started, asked, noticed when it dies or hangs, ended."""

import asyncio
import contextlib
import json
import socket
import subprocess
import sys
from collections.abc import Sequence
from io import BufferedRWPair
from typing import Any

from sentiscale.errors import DataError, SentiscaleError, UsageError
from sentiscale.util.processes import with_threads

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


START_SECONDS = 180.0
"""A worker that is not ready by then is given up."""
END_SECONDS = 5.0
KINDS: dict[int, type[SentiscaleError]] = {error.exit_code: error for error in (UsageError, DataError)}

WORKER = (sys.executable, "-m", "sentiscale.serving.worker")


class WorkerLost(Exception):  # noqa: N818 - it says what happened
    """The process died, hung or was ended before it answered."""


class Worker:
    """A running process that has loaded the model; `card` describes it."""

    def __init__(
        self, process: "subprocess.Popen[bytes]", reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.process = process
        self.card: dict[str, Any] = {}
        self.gone = asyncio.Event()
        """Set when the process has closed its side: it died or was ended."""
        self._writer = writer
        self._answer: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._reading = asyncio.create_task(self._read(reader))

    @classmethod
    async def start(cls, model: str, threads: int, program: Sequence[str] = WORKER) -> "Worker":
        """Start a process and wait until it is ready.

        Raises: SentiscaleError (DataError where the model directory is at fault) when it does not come up.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            process = subprocess.Popen(
                [*program, str(theirs.fileno()), model, str(threads)],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=sys.stderr.fileno(),
                env=with_threads(threads),
            )
        worker = cls(process, *await asyncio.open_connection(sock=ours))
        try:
            worker.card = await worker._first_words()
        except BaseException:
            await worker.end(at_once=True)
            raise
        return worker

    async def ask(self, message: Message, seconds: float) -> Message:
        """The answer to one batch.

        Raises: WorkerLost when there is none within `seconds`; the process is ended then.
        """
        try:
            self._answer = asyncio.get_running_loop().create_future()
            if self.gone.is_set():
                raise EOFError
            self._writer.write(packed(message))
            async with asyncio.timeout(seconds):
                await self._writer.drain()
                return await self._answer
        except TimeoutError:
            await self.end(at_once=True)
            raise WorkerLost(f"did not answer for {seconds:g} s and was ended") from None
        except (EOFError, OSError):
            raise WorkerLost(await self.how_it_ended()) from None

    async def how_it_ended(self) -> str:
        """What became of a process that has gone."""
        await self.end()
        code = self.process.returncode
        return f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"

    async def end(self, *, at_once: bool = False) -> None:
        """End the process: by closing its socket, or, `at_once` or when that takes too long, by force."""
        if at_once:
            self.process.kill()
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()
        try:
            await asyncio.to_thread(self.process.wait, END_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            await asyncio.to_thread(self.process.wait)
        self._reading.cancel()

    async def _read(self, reader: asyncio.StreamReader) -> None:
        """Hand every message to whoever waits for it, until there are no more."""
        try:
            while True:
                message = await receive(reader)
                if not self._answer.done():
                    self._answer.set_result(message)
        except (EOFError, OSError):
            pass
        finally:
            self.gone.set()
            if not self._answer.done():
                self._answer.set_exception(EOFError())
                self._answer.exception()  # nobody need be waiting for it

    async def _first_words(self) -> dict[str, Any]:
        try:
            async with asyncio.timeout(START_SECONDS):
                message = await self._answer
        except TimeoutError:
            raise SentiscaleError(f"a worker was not ready after {START_SECONDS:g} s.") from None
        except EOFError:
            raise SentiscaleError(f"a worker could not start: it {await self.how_it_ended()}.") from None
        if "failed" in message:
            raise KINDS.get(message["exit_code"], SentiscaleError)(message["failed"])
        card: dict[str, Any] = message["ready"]
        return card
