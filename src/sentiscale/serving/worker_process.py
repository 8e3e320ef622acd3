"""Controls a worker process from the front process: starts it, sends batches and ends it."""

import asyncio
import contextlib
import json
import socket
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from sentiscale.errors import DataError, SentiscaleError, UsageError
from sentiscale.util.processes import with_threads

LENGTH_BYTES = 4
"""Size of the big-endian length before each JSON message, as in `multiprocessing.connection`."""
MAX_MESSAGE_BYTES = 2**28
"""Maximum message length; a larger one means that the stream is corrupt."""
START_SECONDS = 180.0
END_SECONDS = 5.0
ERRORS: dict[int, type[SentiscaleError]] = {error.exit_code: error for error in (UsageError, DataError)}
WORKER = (sys.executable, "-m", "sentiscale.serving.worker")

Json = dict[str, Any]


class WorkerLost(Exception):  # noqa: N818 - an event, not an error
    """Raised when the process died, hung or was ended before it answered."""


class WorkerProcess:
    """A running process that has loaded the model."""

    def __init__(
        self, process: "subprocess.Popen[bytes]", reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.process = process
        self.card: Json = {}
        """Model card, as `GET /v1/model` returns it."""
        loop = asyncio.get_running_loop()
        self.gone: asyncio.Future[None] = loop.create_future()
        """Done when the process has closed its end of the socket."""
        self._writer = writer
        self._answer: asyncio.Future[Json] = loop.create_future()
        self._reading = asyncio.create_task(self._read(reader))

    @classmethod
    async def start(
        cls, model: str, threads: int, program: Sequence[str] = WORKER, options: Sequence[str] = ()
    ) -> "WorkerProcess":
        """Start a process and wait until it has loaded the model.

        Raises: SentiscaleError when it does not start; DataError if the model directory is the cause.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            process = subprocess.Popen(
                [*program, str(theirs.fileno()), model, str(threads), *options],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=sys.stderr.fileno(),
                env=with_threads(threads),
            )
        worker = cls(process, *await asyncio.open_connection(sock=ours))
        try:
            worker.card = await worker._receive_card()
        except BaseException:
            await worker.end(at_once=True)
            raise
        return worker

    async def ask(self, message: Json, seconds: float) -> Json:
        """Send a batch and return the answer.

        Raises: WorkerLost when the process ends, or does not answer within `seconds` and is killed.
        """
        self._answer = asyncio.get_running_loop().create_future()
        content = json.dumps(message, separators=(",", ":")).encode()
        try:
            if self.gone.done():
                raise EOFError
            self._writer.write(len(content).to_bytes(LENGTH_BYTES, "big") + content)
            async with asyncio.timeout(seconds):
                await self._writer.drain()
                return await self._answer
        except TimeoutError:
            await self.end(at_once=True)
            raise WorkerLost(f"did not answer for {seconds:g} s and was ended") from None
        except (EOFError, OSError):
            raise WorkerLost(await self.exit_reason()) from None

    async def exit_reason(self) -> str:
        await self.end()
        code = self.process.returncode
        return f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"

    async def end(self, *, at_once: bool = False) -> None:
        """Close the socket, which ends the process. Kill it if `at_once`, or if it takes too long to end."""
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
        try:
            while True:
                size = int.from_bytes(await reader.readexactly(LENGTH_BYTES), "big")
                if size > MAX_MESSAGE_BYTES:
                    raise EOFError
                first, *predictions = (await reader.readexactly(size)).split(b"\n")
                message = json.loads(first)
                message["predictions"] = predictions  # not parsed: they are sent to the client as they are
                if not self._answer.done():
                    self._answer.set_result(message)
        except (EOFError, OSError):
            pass
        finally:
            self.gone.set_result(None)
            if not self._answer.done():
                self._answer.set_exception(EOFError())
                self._answer.exception()  # marks it as retrieved: there may be no caller waiting for it

    async def _receive_card(self) -> Json:
        try:
            async with asyncio.timeout(START_SECONDS):
                message = await self._answer
        except TimeoutError:
            raise SentiscaleError(f"a worker was not ready after {START_SECONDS:g} s.") from None
        except EOFError:
            raise SentiscaleError(f"a worker could not start: it {await self.exit_reason()}.") from None
        if "failed" in message:
            raise ERRORS.get(message["exit_code"], SentiscaleError)(message["failed"])
        card: Json = message["ready"]
        return card
