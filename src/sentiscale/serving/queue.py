"""The texts that wait for a worker: gathered into batches, bounded, put back when a worker dies.

A request is a `Job`. It is cut into `Piece`s of at most one batch, so that a large request does not hold up
small ones. What is to be explained waits apart: it takes a hundred times as long.
"""

import asyncio
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from sentiscale.serving.checks import Fault, busy
from sentiscale.serving.settings import ServeSettings

MOST_LOSSES = 2
"""After a text was in so many batches whose workers died, it is tried alone."""
EXPLAINED_AT_ONCE = 4
"""Texts of one batch of explanations: few, so that predictions get their turn."""
EXPLAINED_CHARACTERS = 2000
"""Of such a batch, unless a single text has more: four long ones would take a second and more."""

Predictions = list[dict[str, Any]]


@dataclass(eq=False)
class Job:
    """One request's texts and what is known about them so far."""

    texts: Sequence[str]
    explain: bool
    deadline: float
    """By the loop's clock; an answer after it is of no use to anybody."""
    arrived: float
    answer: "asyncio.Future[tuple[Predictions, int]]"
    """The predictions, and the generation of the model they come from."""
    found: list[tuple[dict[str, Any], int] | None] = field(default_factory=list)
    missing: int = 0

    def __post_init__(self) -> None:
        self.found = [None] * len(self.texts)
        self.missing = len(self.texts)

    def is_over(self, now: float) -> bool:
        """Whether nobody waits for it any more."""
        return self.answer.done() or now >= self.deadline


@dataclass(eq=False)
class Piece:
    """Neighbouring texts of a job that go into the same batch."""

    job: Job
    first: int
    last: int
    """One past the last."""
    losses: int = 0
    """Batches with it whose workers died."""

    @property
    def texts(self) -> Sequence[str]:
        """The texts themselves."""
        return self.job.texts[self.first : self.last]

    @property
    def size(self) -> int:
        """How many."""
        return self.last - self.first

    @property
    def characters(self) -> int:
        """Of all its texts."""
        return sum(map(len, self.texts))


class WaitingLine:
    """Texts in the order of their arrival, from which workers take batches."""

    def __init__(self, settings: ServeSettings) -> None:
        self.settings = settings
        self.texts = 0
        """Texts that wait."""
        self._usual: deque[Piece] = deque()
        self._explained: deque[Piece] = deque()
        self._turn = asyncio.Lock()
        self._changed = asyncio.Event()
        self._gathering = False
        self._expected = 1
        self._explained_last = False

    def submit(self, texts: Sequence[str], *, explain: bool) -> Job:
        """Put a request of one text or more in the line.

        Raises: Fault 429 when there is no room.
        """
        self.check_room(len(texts))
        loop = asyncio.get_running_loop()
        now = loop.time()
        job = Job(texts, explain, now + self.settings.timeout_s, now, loop.create_future())
        self._join_end(job)
        return job

    def check_room(self, texts: int = 1) -> None:
        """Raises: Fault 429 when there is no room for so many texts."""
        limit = self.settings.queue
        if self.texts + texts > limit:
            waiting = f"{self.texts} texts are waiting, and {texts} more would exceed the limit of {limit}"
            raise busy(429, f"{waiting}; try again later.", code="queue_full", limit=limit)

    async def take(self) -> list[Piece]:
        """The next batch. Waits for one, and then a little longer for others to share it.

        How much longer: until as many pieces are there as went last time, at most the set delay. A client
        that is alone therefore never waits.
        """
        async with self._turn:
            while True:
                while not (self._usual or self._explained):
                    await self._change()
                await self._gather()
                if batch := self._cut():
                    return batch

    def put_back(self, batch: Iterable[Piece]) -> None:
        """Put untouched pieces back to the head of the line."""
        for piece in reversed(list(batch)):
            self._lane(piece.job).appendleft(piece)
            self.texts += piece.size
        self._changed.set()

    def lost(self, batch: Sequence[Piece]) -> None:
        """Deal with a batch whose worker died: again, then each text alone, then answer 500."""
        again: list[Piece] = []
        for piece in batch:
            piece.losses += 1
            if piece.losses < MOST_LOSSES:
                again.append(piece)
            elif len(batch) == 1 and piece.size == 1:
                _fail(piece.job, Fault(500, "this text ends the process that reads it.", code="text_failed"))
            else:
                places = range(piece.first, piece.last)
                again += [Piece(piece.job, place, place + 1, piece.losses) for place in places]
        self.put_back(again)

    def done(self, batch: Sequence[Piece], predictions: Predictions, generation: int) -> None:
        """Hand the predictions of a batch to the jobs they belong to."""
        rest = iter(predictions)
        for piece in batch:
            job = piece.job
            for place in range(piece.first, piece.last):
                job.found[place] = (next(rest), generation)
            job.missing -= piece.size
            if job.missing == 0 and not job.answer.done():
                self._finish(job)

    def _finish(self, job: Job) -> None:
        """Answer a job, unless the model changed between its pieces: then do the older ones again."""
        found = [entry for entry in job.found if entry is not None]
        newest = max(generation for _, generation in found)
        old = [place for place, (_, generation) in enumerate(found) if generation != newest]
        if not old:
            job.answer.set_result(([prediction for prediction, _ in found], newest))
            return
        job.missing = len(old)
        self.put_back([Piece(job, place, place + 1) for place in old])

    def _join_end(self, job: Job) -> None:
        self._lane(job).extend(self._pieces(job))
        self.texts += len(job.texts)
        if not self._gathering or self._has_enough():  # or a busy taker would be woken for each arrival
            self._changed.set()

    def _pieces(self, job: Job) -> Iterator[Piece]:
        """The texts of a job in order, no piece larger than a batch may be."""
        most, room = self._limits(job)
        first = characters = 0
        for place, text in enumerate(job.texts):
            if place > first and (place - first == most or characters + len(text) > room):
                yield Piece(job, first, place)
                first, characters = place, 0
            characters += len(text)
        yield Piece(job, first, len(job.texts))

    def _limits(self, job: Job) -> tuple[int, int]:
        """Most texts and characters of a batch with such a job; a single text may have more."""
        if job.explain:
            return EXPLAINED_AT_ONCE, EXPLAINED_CHARACTERS
        return self.settings.max_batch, self.settings.batch_characters

    def _lane(self, job: Job) -> deque[Piece]:
        return self._explained if job.explain else self._usual

    def _has_enough(self) -> bool:
        pieces = len(self._usual)
        return bool(self._explained) or pieces >= self._expected or self.texts >= self.settings.max_batch

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    async def _gather(self) -> None:
        delay = self.settings.batch_delay_ms / 1000
        if delay == 0 or self._has_enough():
            return
        self._gathering = True
        try:
            async with asyncio.timeout_at(self._usual[0].job.arrived + delay):
                while not self._has_enough():
                    await self._change()
        except TimeoutError:
            pass
        finally:
            self._gathering = False

    def _cut(self) -> list[Piece]:
        """Take one batch out of the line; pieces that nobody waits for any more are dropped."""
        now = asyncio.get_running_loop().time()
        self._explained_last = bool(self._explained) and not (self._usual and self._explained_last)
        lane = self._explained if self._explained_last else self._usual
        batch: list[Piece] = []
        texts = characters = 0
        while lane:
            piece = lane[0]
            size, length = piece.size, piece.characters
            if batch and self._is_full(texts + size, characters + length, (*batch, piece)):
                break
            lane.popleft()
            self.texts -= size
            if not piece.job.is_over(now):
                batch.append(piece)
                texts, characters = texts + size, characters + length
        if batch and not self._explained_last:
            self._expected = len(batch)
        return batch

    def _is_full(self, texts: int, characters: int, pieces: Sequence[Piece]) -> bool:
        most, room = self._limits(pieces[0].job)
        suspect = any(piece.losses >= MOST_LOSSES for piece in (pieces[0], pieces[-1]))
        return suspect or texts > most or characters > room


def waited(batch: Sequence[Piece], now: float) -> float:
    """Seconds that the first piece of a batch has waited."""
    return max(0.0, now - batch[0].job.arrived)


def _fail(job: Job, fault: Fault) -> None:
    if not job.answer.done():
        job.answer.set_exception(fault)
