"""The pool of worker processes, which restarts them with back-off and replaces them to reload the model."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sentiscale.errors import SentiscaleError
from sentiscale.model.files import DIGESTS, FILES
from sentiscale.serving.queue import BatchQueue, RequestPart
from sentiscale.serving.settings import ServeSettings
from sentiscale.serving.telemetry import ServiceMetrics
from sentiscale.serving.worker_process import WORKER, WorkerLost, WorkerProcess

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 10.0
"""Range of the delay in seconds before a restart. The first restart has no delay; then it doubles with each
failure."""
WATCH_SECONDS = 1.0
"""Interval between checks of the model directory."""

LogEvent = Callable[..., None]
"""Writes an event to the log: a name, then keyword fields."""


@dataclass(eq=False)
class Generation:
    """Workers that loaded the same version of the model."""

    number: int
    card: dict[str, Any]
    keepers: list["asyncio.Task[None]"] = field(default_factory=list)
    """Tasks that each keep one worker running."""
    busy: set["asyncio.Task[None]"] = field(default_factory=set)
    """Keepers whose worker is processing a batch."""
    workers: set[WorkerProcess] = field(default_factory=set)
    """Workers that are ready or busy."""
    retired: bool = False


class WorkerPool:
    """Keeps the configured number of workers running with the same model, and sends them batches."""

    def __init__(
        self,
        model: Path,
        settings: ServeSettings,
        queue: BatchQueue,
        metrics: ServiceMetrics,
        log_event: LogEvent,
    ) -> None:
        self.model, self.settings, self.queue = model, settings, queue
        self.metrics, self.log_event = metrics, log_event
        self.program: Sequence[str] = WORKER
        self.current: Generation | None = None
        self.cards: dict[int, dict[str, Any]] = {}
        """Model cards of the generations that may still answer requests, by number."""
        self._start_failed = False
        self._reloading: asyncio.Task[None] | None = None
        self._reload_requested = False

    @property
    def ready(self) -> int:
        """Number of workers that have loaded the model, idle or busy."""
        return len(self.current.workers) if self.current else 0

    @property
    def broken(self) -> bool:
        """Whether no worker is running and the last attempt to start one failed."""
        return self.ready == 0 and self._start_failed

    async def start(self) -> None:
        """Start one worker; once it is ready, start the others in the background.

        Raises: SentiscaleError when the first worker does not start.
        """
        self._switch_to([await self._start_worker()])

    async def stop(self) -> None:
        if self._reloading is not None:
            self._reloading.cancel()
            await asyncio.gather(self._reloading, return_exceptions=True)
        if self.current is not None:
            generation, self.current = self.current, None
            for keeper in generation.keepers:
                keeper.cancel()
            await asyncio.gather(*generation.keepers, return_exceptions=True)

    def request_reload(self) -> None:
        """Start a reload in the background; during a reload, schedule another one after it."""
        self._reload_requested = True
        if self._reloading is None or self._reloading.done():
            self._reloading = asyncio.create_task(self._reload_as_requested())
            self._reloading.add_done_callback(self._log_failure)

    async def _reload_as_requested(self) -> None:
        while self._reload_requested:
            self._reload_requested = False
            await self._reload()

    async def _reload(self) -> None:
        """Switch to the model that is now in the directory; keep the old one if the new one does not load."""
        try:
            workers = await self._start_all()
        except SentiscaleError as error:
            self.metrics.reloads.labels("refused").inc()
            self.log_event("reload_refused", reason=str(error))
            return
        old = self.current
        self._switch_to(workers)
        self.metrics.reloads.labels("done").inc()
        self.log_event("reloaded", digest=workers[0].card["digest"], model=workers[0].card["name"])
        if old is not None:
            old.retired = True
            for keeper in old.keepers:
                if keeper not in old.busy:  # busy workers finish their batch first
                    keeper.cancel()
            await asyncio.gather(*old.keepers, return_exceptions=True)

    async def _start_worker(self) -> WorkerProcess:
        options = ("--full",) if self.settings.full else ()
        return await WorkerProcess.start(str(self.model), self.settings.threads, self.program, options)

    async def _start_all(self) -> list[WorkerProcess]:
        starts = (self._start_worker() for _ in range(self.settings.worker_count))
        started = await asyncio.gather(*starts, return_exceptions=True)
        workers = [worker for worker in started if isinstance(worker, WorkerProcess)]
        failures = [failure for failure in started if isinstance(failure, BaseException)]
        if not failures and len({worker.card["digest"] for worker in workers}) > 1:
            failures = [SentiscaleError("the model directory changed while the workers read it.")]
        if failures:
            await asyncio.gather(*(worker.end() for worker in workers))
            raise failures[0]
        return workers

    def _switch_to(self, workers: Sequence[WorkerProcess]) -> None:
        number = self.current.number + 1 if self.current else 1
        generation = Generation(number, workers[0].card, workers=set(workers))
        self.cards = {n: card for n, card in self.cards.items() if n == number - 1}
        self.cards[number] = generation.card
        self.current = generation
        for place in range(self.settings.worker_count):
            ready = workers[place] if place < len(workers) else None
            keeper = asyncio.create_task(self._keep(generation, ready))
            keeper.add_done_callback(self._log_failure)
            generation.keepers.append(keeper)

    async def _keep(self, generation: Generation, worker: WorkerProcess | None) -> None:
        """Keep one worker of a generation running."""
        failures = 0
        while not generation.retired:
            if worker is None:
                worker = await self._replace(generation, failures)
                failures += 1
                if worker is None:
                    continue
            generation.workers.add(worker)
            try:
                while not generation.retired:
                    await self._serve_batch(generation, worker)
                    failures = 0
            except WorkerLost as loss:
                self.metrics.restarts.inc()
                reason = str(loss) or await worker.exit_reason()
                self.log_event("worker_lost", process=worker.process.pid, reason=reason)
            finally:
                generation.workers.discard(worker)
                await asyncio.shield(worker.end())
            worker = None

    async def _replace(self, generation: Generation, failures: int) -> WorkerProcess | None:
        """Start a worker with the generation's model; None if it does not start or loads another model."""
        if failures:
            await asyncio.sleep(min(FIRST_PAUSE * 2 ** (failures - 1), LONGEST_PAUSE))
        try:
            worker = await self._start_worker()
        except SentiscaleError as error:
            self._start_failed = True
            self.log_event("worker_failed", reason=str(error))
            return None
        self._start_failed = False
        if worker.card["digest"] == generation.card["digest"]:
            self.log_event("worker_started", process=worker.process.pid)
            return worker
        await worker.end()
        self.log_event("model_changed", digest=worker.card["digest"])
        self.request_reload()  # answers from two models must not be mixed
        return None

    async def _serve_batch(self, generation: Generation, worker: WorkerProcess) -> None:
        """Take a batch from the queue and answer it.

        Raises: WorkerLost when the worker dies, idle or busy; a batch in progress returns to the queue.
        """
        taking = asyncio.create_task(self.queue.take())
        try:
            events: set[asyncio.Future[Any]] = {taking, worker.gone}
            await asyncio.wait(events, return_when=asyncio.FIRST_COMPLETED)
            if worker.gone.done():
                raise WorkerLost
        except (WorkerLost, asyncio.CancelledError):
            if taking.done():
                self.queue.put_back(taking.result())
            taking.cancel()
            raise
        keeper = asyncio.current_task()
        assert keeper is not None
        generation.busy.add(keeper)
        try:
            await self._answer(generation, worker, taking.result())
        finally:
            generation.busy.discard(keeper)

    async def _answer(self, generation: Generation, worker: WorkerProcess, batch: list[RequestPart]) -> None:
        loop, metrics = asyncio.get_running_loop(), self.metrics
        started_at = loop.time()
        texts = [text for part in batch for text in part.texts]
        request = batch[0].request  # all of a batch have the same options
        question = {"texts": texts, "explain": request.explain, "thresholds": request.thresholds}
        metrics.batch_texts.observe(len(texts))
        metrics.queue_wait.observe(max(0.0, started_at - request.arrived))
        metrics.texts.labels("explain" if request.explain else "predict").inc(len(texts))
        try:
            answer = await worker.ask(question, self.settings.silence_s)
        except WorkerLost:
            self.queue.lost(batch)
            raise
        except asyncio.CancelledError:
            self.queue.put_back(batch)
            raise
        metrics.batch_seconds.observe(loop.time() - started_at)
        if "raised" in answer:
            self.log_event("batch_raised", error=answer["raised"], texts=len(texts))
            self.queue.lost(batch)
        else:
            self.queue.done(batch, answer["predictions"], generation.number)

    def _log_failure(self, task: "asyncio.Task[Any]") -> None:
        """Log the exception of a task that is not awaited."""
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self.log_event("failed", error=repr(error))


async def watch_model(model: Path, reload: Callable[[], object]) -> None:
    """Call `reload` once per change of the model directory, when two successive checks see the same files."""
    taken = before = await asyncio.to_thread(fingerprint, model)
    while True:
        await asyncio.sleep(WATCH_SECONDS)
        now = await asyncio.to_thread(fingerprint, model)
        if now and now == before and now != taken:
            taken = now
            reload()
        before = now


def fingerprint(model: Path) -> tuple[tuple[int, int, int], ...]:
    """Return inode, modification time and size of each model file; empty while a file is missing."""
    try:
        stats = [(model / name).stat() for name in FILES]
        with contextlib.suppress(FileNotFoundError):
            stats.append((model / DIGESTS).stat())
    except OSError:
        return ()
    return tuple((stat.st_ino, stat.st_mtime_ns, stat.st_size) for stat in stats)
