"""The workers: kept running, restarted with back-off, exchanged for those of a new model."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sentiscale.errors import SentiscaleError
from sentiscale.serving.checks import Fault
from sentiscale.serving.child import WORKER, Worker, WorkerLost
from sentiscale.serving.queue import Piece, WaitingLine, waited
from sentiscale.serving.settings import ServeSettings
from sentiscale.serving.telemetry import Metrics

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 10.0
"""Seconds before a worker is started again; doubled with each failure in a row, none before the first."""

Tell = Callable[..., None]
"""Writes an event to the log: its name, then fields."""


@dataclass(eq=False)
class Generation:
    """The workers of one state of the model directory."""

    number: int
    card: dict[str, Any]
    keepers: list["asyncio.Task[None]"] = field(default_factory=list)
    busy: set["asyncio.Task[None]"] = field(default_factory=set)
    """Keepers whose worker has a batch."""
    workers: set[Worker] = field(default_factory=set)
    """Ready ones."""
    retired: bool = False


class Pool:
    """Keeps as many workers as are set, all with the same model, and feeds them from the line."""

    def __init__(
        self, model: Path, settings: ServeSettings, line: WaitingLine, metrics: Metrics, tell: Tell
    ) -> None:
        self.model, self.settings, self.line = model, settings, line
        self.metrics, self.tell = metrics, tell
        self.program: Sequence[str] = WORKER
        self.current: Generation | None = None
        self.cards: dict[int, dict[str, Any]] = {}
        """The model card of each generation that may still answer."""
        self._failing = False
        self._reloading = asyncio.Lock()
        self._wanted: asyncio.Task[None] | None = None
        self._asked_again = False

    @property
    def ready(self) -> int:
        """Workers that can take a batch, or are busy with one."""
        return len(self.current.workers) if self.current else 0

    @property
    def hopeless(self) -> bool:
        """Whether there is no worker and the last one did not even start."""
        return self.ready == 0 and self._failing

    async def start(self) -> None:
        """Start the first workers; the others come when one is ready.

        Raises: SentiscaleError when the first does not come up.
        """
        first = await self._started()
        self._take_over([first])

    async def reload(self) -> bool:
        """Take the model that is in the directory now; if it cannot be used, go on with the old one."""
        async with self._reloading:
            try:
                workers = await self._all_started()
            except SentiscaleError as error:
                self.metrics.reloads.labels("refused").inc()
                self.tell("reload_refused", reason=str(error))
                return False
            old = self.current
            self._take_over(workers)
            self.metrics.reloads.labels("done").inc()
            self.tell("reloaded", digest=workers[0].card["digest"], model=workers[0].card["name"])
            if old is not None:
                await self._retire(old)
            return True

    async def stop(self) -> None:
        """End all workers; nothing waits for them any more."""
        if self._wanted is not None:
            self._wanted.cancel()
            await asyncio.gather(self._wanted, return_exceptions=True)
        if self.current is not None:
            generation, self.current = self.current, None
            for keeper in generation.keepers:
                keeper.cancel()
            await asyncio.gather(*generation.keepers, return_exceptions=True)

    async def _started(self) -> Worker:
        return await Worker.start(str(self.model), self.settings.threads, self.program)

    async def _all_started(self) -> list[Worker]:
        started = await asyncio.gather(
            *(self._started() for _ in range(self.settings.worker_count)), return_exceptions=True
        )
        workers = [worker for worker in started if isinstance(worker, Worker)]
        failures = [failure for failure in started if isinstance(failure, BaseException)]
        if not failures and len({worker.card["digest"] for worker in workers}) > 1:
            failures = [SentiscaleError("the model directory changed while it was read.")]
        if failures:
            await asyncio.gather(*(worker.end() for worker in workers))
            raise failures[0]
        return workers

    def _take_over(self, workers: Sequence[Worker]) -> None:
        number = self.current.number + 1 if self.current else 1
        generation = Generation(number, workers[0].card)
        self.cards = {n: card for n, card in self.cards.items() if n == number - 1}
        self.cards[number] = generation.card
        self.current = generation
        generation.workers.update(workers)
        for place in range(self.settings.worker_count):
            ready = workers[place] if place < len(workers) else None
            keeper = asyncio.create_task(self._keep(generation, ready))
            keeper.add_done_callback(self._note_failure)
            generation.keepers.append(keeper)

    async def _retire(self, generation: Generation) -> None:
        """Let the workers of an old model finish the batch they have, then end them."""
        generation.retired = True
        for keeper in generation.keepers:
            if keeper not in generation.busy:
                keeper.cancel()
        await asyncio.gather(*generation.keepers, return_exceptions=True)

    async def _keep(self, generation: Generation, worker: Worker | None) -> None:
        """Keep one worker of a generation running."""
        failures = 0
        while not generation.retired:
            if worker is None:
                worker = await self._replaced(generation, failures)
                failures += 1
                if worker is None:
                    continue
            generation.workers.add(worker)
            try:
                while not generation.retired:
                    if await self._serve_one(generation, worker):
                        failures = 0
            except WorkerLost as loss:
                self.metrics.restarts.inc()
                self.tell("worker_lost", process=worker.process.pid, reason=str(loss))
            finally:
                generation.workers.discard(worker)
                await asyncio.shield(worker.end())
            worker = None

    async def _replaced(self, generation: Generation, failures: int) -> Worker | None:
        """A new worker with the generation's model; None when it did not come up or found another model."""
        if failures:
            await asyncio.sleep(min(FIRST_PAUSE * 2 ** (failures - 1), LONGEST_PAUSE))
        try:
            worker = await self._started()
        except SentiscaleError as error:
            self._failing = True
            self.tell("worker_failed", reason=str(error))
            return None
        self._failing = False
        if worker.card["digest"] == generation.card["digest"]:
            self.tell("worker_started", process=worker.process.pid)
            return worker
        await worker.end()
        self.tell("model_changed", digest=worker.card["digest"])
        self.want_reload()  # answers of two models are never mixed
        return None

    def want_reload(self) -> None:
        """Reload soon; while that is under way, once more afterwards."""
        self._asked_again = True
        if self._wanted is None or self._wanted.done():
            self._wanted = asyncio.create_task(self._reload_as_wanted())
            self._wanted.add_done_callback(self._note_failure)

    async def _reload_as_wanted(self) -> None:
        while self._asked_again:
            self._asked_again = False
            await self.reload()

    def _note_failure(self, task: "asyncio.Task[Any]") -> None:
        """A fault of ours in a task that nobody waits for must not stay unseen."""
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self.tell("failed", error=repr(error))

    async def _serve_one(self, generation: Generation, worker: Worker) -> bool:
        """Take a batch from the line and answer it.

        Raises: WorkerLost when the worker dies, idle or busy; the batch is back in the line then.
        """
        batch = await self._next_batch(worker)
        keeper = asyncio.current_task()
        assert keeper is not None
        generation.busy.add(keeper)
        try:
            await self._answer(generation, worker, batch)
        finally:
            generation.busy.discard(keeper)
        return True

    async def _next_batch(self, worker: Worker) -> list[Piece]:
        taking = asyncio.create_task(self.line.take())
        going = asyncio.create_task(worker.gone.wait())
        try:
            await asyncio.wait({taking, going}, return_when=asyncio.FIRST_COMPLETED)
            if not worker.gone.is_set():
                return taking.result()
        except asyncio.CancelledError:
            self._give_back(taking)
            raise
        finally:
            going.cancel()
        self._give_back(taking)
        raise WorkerLost(await worker.how_it_ended())

    def _give_back(self, taking: "asyncio.Task[list[Piece]]") -> None:
        if taking.done() and not taking.cancelled():
            self.line.put_back(taking.result())
        taking.cancel()

    async def _answer(self, generation: Generation, worker: Worker, batch: list[Piece]) -> None:
        loop = asyncio.get_running_loop()
        started_at = loop.time()
        texts = [text for piece in batch for text in piece.texts]
        explain = batch[0].job.explain
        self.metrics.batch_begins(len(texts), waited(batch, started_at), explain=explain)
        try:
            answer = await worker.ask({"texts": texts, "explain": explain}, self.settings.silence_s)
        except WorkerLost:
            self.line.lost(batch)
            raise
        except asyncio.CancelledError:
            self.line.put_back(batch)
            raise
        self.metrics.batch_seconds.observe(loop.time() - started_at)
        if "raised" in answer:
            self.tell("batch_raised", error=answer["raised"], texts=len(texts))
            self.line.lost(batch)
        else:
            self.line.done(batch, answer["predictions"], generation.number)


def not_ready(message: str) -> Fault:
    """The answer while there is no worker."""
    return Fault(503, message, code="not_ready", headers={"Retry-After": "2"})


EVERY_SECONDS = 1.0
FILES = ("config.toml", "vocab.txt", "weights.safetensors")
"""What a model's answers depend on."""

Fingerprint = tuple[tuple[int, int, int], ...]


async def watch_model(model: Path, reload: Callable[[], object]) -> None:
    """Look each second; `reload` is called once for a change that has been the same for two looks."""
    taken = before = await asyncio.to_thread(fingerprint, model)
    while True:
        await asyncio.sleep(EVERY_SECONDS)
        now = await asyncio.to_thread(fingerprint, model)
        if now and now == before and now != taken:
            taken = now
            reload()
        before = now


def fingerprint(model: Path) -> Fingerprint:
    """What tells a changed directory from the same one without reading it; empty if it is not complete."""
    try:
        stats = [(model / name).stat() for name in FILES]
    except OSError:
        return ()
    return tuple((stat.st_ino, stat.st_mtime_ns, stat.st_size) for stat in stats)
