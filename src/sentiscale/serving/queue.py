"""Texts that wait for a worker: gathered into batches, bounded, put back when a worker dies.

A request is cut into parts of at most one batch, so that a large request does not hold up small ones.
Explanations wait in a queue of their own: they take a hundred times as long.
"""

import asyncio
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from sentiscale.serving.errors import RequestError, overloaded
from sentiscale.serving.settings import ServeSettings

MAX_LOSSES = 2
"""A text that was in this many batches whose workers died is tried alone."""
EXPLAIN_BATCH = 4
"""Texts of a batch of explanations: few, so that predictions get their turn."""
EXPLAIN_BATCH_CHARACTERS = 2000
"""Characters of such a batch, unless a single text has more: four long texts would take over a second."""

Predictions = list[dict[str, Any]]


@dataclass(eq=False)
class QueuedRequest:
    """The texts of one request and their predictions so far."""

    texts: Sequence[str]
    explain: bool
    arrived: float
    deadline: float
    """Loop time after which nobody waits for the answer."""
    answer: "asyncio.Future[tuple[Predictions, int]]"
    """The predictions, and the generation of the model they come from."""
    results: dict[int, tuple[dict[str, Any], int]] = field(default_factory=dict)
    """Prediction and generation by place of the text."""


@dataclass(eq=False)
class RequestPart:
    """Neighbouring texts of a request that go into the same batch."""

    request: QueuedRequest
    places: range
    losses: int = 0
    """Batches with it whose workers died."""

    @property
    def texts(self) -> Sequence[str]:
        return self.request.texts[self.places.start : self.places.stop]


class BatchQueue:
    """Texts in the order of their arrival, from which workers take batches."""

    def __init__(self, settings: ServeSettings) -> None:
        self.settings = settings
        self.texts = 0
        """Texts that wait."""
        self._predict: deque[RequestPart] = deque()
        self._explain: deque[RequestPart] = deque()
        self._turn = asyncio.Lock()
        self._changed = asyncio.Event()
        self._gathering = False
        self._expected = 1
        self._explained_last = False

    def submit(self, texts: Sequence[str], *, explain: bool) -> QueuedRequest:
        """Queue a request of one text or more.

        Raises: RequestError 429 when the queue is full.
        """
        self.check_room(len(texts))
        loop = asyncio.get_running_loop()
        now = loop.time()
        request = QueuedRequest(texts, explain, now, now + self.settings.timeout_s, loop.create_future())
        self._lane(request).extend(self._parts(request))
        self.texts += len(texts)
        if not self._gathering or self._has_enough():  # or a gathering taker would be woken for each arrival
            self._changed.set()
        return request

    def check_room(self, texts: int = 1) -> None:
        """Raises: RequestError 429 when there is no room for so many texts."""
        limit = self.settings.queue
        if self.texts + texts > limit:
            waiting = f"{self.texts} texts are waiting, and {texts} more would exceed the limit of {limit}"
            raise overloaded(429, f"{waiting}; try again later.", code="queue_full", limit=limit)

    async def take(self) -> list[RequestPart]:
        """The next batch. Waits for a text, then a little longer for others to share the forward pass.

        It waits until as many parts are there as went last time, at most the configured delay. A lone client
        therefore never waits.
        """
        async with self._turn:
            while True:
                while not (self._predict or self._explain):
                    await self._change()
                await self._gather()
                if batch := self._cut():
                    return batch

    def put_back(self, batch: Iterable[RequestPart]) -> None:
        """Return untouched parts to the head of the queue."""
        for part in reversed(list(batch)):
            self._lane(part.request).appendleft(part)
            self.texts += len(part.places)
        self._changed.set()

    def lost(self, batch: Sequence[RequestPart]) -> None:
        """Retry a batch whose worker died: as it was, then each text alone, then fail with 500."""
        again: list[RequestPart] = []
        for part in batch:
            part.losses += 1
            if part.losses < MAX_LOSSES:
                again.append(part)
            elif len(batch) > 1 or len(part.places) > 1:
                again += [_single(part.request, place, part.losses) for place in part.places]
            elif not part.request.answer.done():
                error = RequestError(500, "this text ends the process that reads it.", code="text_failed")
                part.request.answer.set_exception(error)
        self.put_back(again)

    def done(self, batch: Sequence[RequestPart], predictions: Predictions, generation: int) -> None:
        """Store the predictions of a batch and answer the requests that are complete."""
        remaining = iter(predictions)
        for part in batch:
            request = part.request
            request.results |= {place: (next(remaining), generation) for place in part.places}
            if len(request.results) == len(request.texts) and not request.answer.done():
                self._finish(request)

    def _finish(self, request: QueuedRequest) -> None:
        """Answer a request; if the model changed between its parts, predict the older ones again."""
        results = request.results
        newest = max(generation for _, generation in results.values())
        old = sorted(place for place, (_, generation) in results.items() if generation != newest)
        if not old:
            request.answer.set_result(([results[place][0] for place in sorted(results)], newest))
            return
        for place in old:
            del results[place]
        self.put_back([_single(request, place) for place in old])

    def _parts(self, request: QueuedRequest) -> Iterator[RequestPart]:
        most, room = self._limits(request)
        first = characters = 0
        for place, text in enumerate(request.texts):
            if place > first and (place - first == most or characters + len(text) > room):
                yield RequestPart(request, range(first, place))
                first, characters = place, 0
            characters += len(text)
        yield RequestPart(request, range(first, len(request.texts)))

    def _limits(self, request: QueuedRequest) -> tuple[int, int]:
        """Texts and characters of a batch with such a request; a single text may have more characters."""
        if request.explain:
            return EXPLAIN_BATCH, EXPLAIN_BATCH_CHARACTERS
        return self.settings.max_batch, self.settings.batch_characters

    def _lane(self, request: QueuedRequest) -> deque[RequestPart]:
        return self._explain if request.explain else self._predict

    def _has_enough(self) -> bool:
        enough = len(self._predict) >= self._expected or self.texts >= self.settings.max_batch
        return bool(self._explain) or enough

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    async def _gather(self) -> None:
        delay = self.settings.batch_delay_ms / 1000
        if delay == 0 or self._has_enough():
            return
        self._gathering = True
        try:
            async with asyncio.timeout_at(self._predict[0].request.arrived + delay):
                while not self._has_enough():
                    await self._change()
        except TimeoutError:
            pass
        finally:
            self._gathering = False

    def _cut(self) -> list[RequestPart]:
        """Take one batch off the queue; parts that nobody waits for any more are dropped."""
        now = asyncio.get_running_loop().time()
        self._explained_last = bool(self._explain) and not (self._predict and self._explained_last)
        lane = self._explain if self._explained_last else self._predict
        batch: list[RequestPart] = []
        texts = characters = 0
        while lane:
            part = lane[0]
            size, length = len(part.places), sum(map(len, part.texts))
            if batch and self._is_full(texts + size, characters + length, batch[0], part):
                break
            lane.popleft()
            self.texts -= size
            if not part.request.answer.done() and now < part.request.deadline:
                batch.append(part)
                texts, characters = texts + size, characters + length
        if batch and not self._explained_last:
            self._expected = len(batch)
        return batch

    def _is_full(self, texts: int, characters: int, first: RequestPart, last: RequestPart) -> bool:
        most, room = self._limits(first.request)
        suspect = max(first.losses, last.losses) >= MAX_LOSSES
        return suspect or texts > most or characters > room


def _single(request: QueuedRequest, place: int, losses: int = 0) -> RequestPart:
    return RequestPart(request, range(place, place + 1), losses)
