"""The bounded queue of texts that wait for a worker, from which batches are formed.

A request is split into parts of at most one batch, so that a large request does not delay small ones.
Explanations have a separate queue, because they take about a hundred times as long.
"""

import asyncio
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from sentiscale.serving.errors import RequestError, overloaded
from sentiscale.serving.settings import ServeSettings

MAX_LOSSES = 2
"""A text that was in this many batches whose workers died is retried alone."""
EXPLAIN_BATCH = 4
"""Maximum texts per batch of explanations; small, so that predictions do not wait long."""
EXPLAIN_BATCH_CHARACTERS = 2000
"""Maximum characters per batch of explanations, unless a single text has more; four long texts would take
over a second."""

Predictions = list[bytes]
"""Each prediction as JSON."""


@dataclass(eq=False)
class QueuedRequest:
    """The texts of one request and their predictions so far."""

    texts: Sequence[str]
    explain: bool
    thresholds: bool
    """Whether the model's decision, if any, chooses the labels."""
    arrived: float
    deadline: float
    """Event-loop time after which the request has timed out."""
    answer: "asyncio.Future[tuple[Predictions, int]]"
    """Future of the predictions and the generation of the model that made them."""
    results: dict[int, tuple[bytes, int]] = field(default_factory=dict)
    """Prediction and generation, by index of the text."""


@dataclass(eq=False)
class RequestPart:
    """Consecutive texts of a request that go into the same batch."""

    request: QueuedRequest
    places: range
    losses: int = 0
    """Number of batches with this part whose workers died."""

    @property
    def texts(self) -> Sequence[str]:
        return self.request.texts[self.places.start : self.places.stop]


class BatchQueue:
    """Holds texts in order of arrival; workers take batches from it."""

    def __init__(self, settings: ServeSettings) -> None:
        self.settings = settings
        self.texts = 0
        """Number of waiting texts."""
        self._predict: deque[RequestPart] = deque()
        self._explain: deque[RequestPart] = deque()
        self._turn = asyncio.Lock()
        self._changed = asyncio.Event()
        self._gathering = False
        self._expected = 1
        self._explained_last = False

    def submit(self, texts: Sequence[str], *, explain: bool, thresholds: bool = True) -> QueuedRequest:
        """Queue a request of at least one text.

        Raises: RequestError 429 when the queue is full.
        """
        self.check_room(len(texts))
        loop = asyncio.get_running_loop()
        now = loop.time()
        deadline = now + self.settings.timeout_s
        request = QueuedRequest(texts, explain, thresholds, now, deadline, loop.create_future())
        self._lane(request).extend(self._parts(request))
        self.texts += len(texts)
        if (
            not self._gathering or self._has_enough()
        ):  # otherwise each arrival would wake a worker that is still gathering
            self._changed.set()
        return request

    def check_room(self, texts: int = 1) -> None:
        """Raises: RequestError 429 when the queue has no room for this many texts."""
        limit = self.settings.queue
        if self.texts + texts > limit:
            waiting = f"{self.texts} texts are waiting, and {texts} more would exceed the limit of {limit}"
            raise overloaded(429, f"{waiting}; try again later.", code="queue_full", limit=limit)

    async def take(self) -> list[RequestPart]:
        """Return the next batch: wait for a text, then a little longer for more to share the forward pass.

        The second wait ends when as many parts have arrived as the last batch had, or after the configured
        delay. A single client therefore never waits.
        """
        async with self._turn:
            while True:
                while not (self._predict or self._explain):
                    await self._change()
                await self._gather()
                if batch := self._cut():
                    return batch

    def put_back(self, batch: Iterable[RequestPart]) -> None:
        """Return unprocessed parts to the front of the queue."""
        for part in reversed(list(batch)):
            self._lane(part.request).appendleft(part)
            self.texts += len(part.places)
        self._changed.set()

    def lost(self, batch: Sequence[RequestPart]) -> None:
        """Handle a batch whose worker died: retry it unchanged, then text by text, then answer with 500."""
        again: list[RequestPart] = []
        for part in batch:
            part.losses += 1
            if part.losses < MAX_LOSSES:
                again.append(part)
            elif len(batch) > 1 or len(part.places) > 1:
                again += [_single(part.request, place, part.losses) for place in part.places]
            elif not part.request.answer.done():
                error = RequestError(500, "the process that reads this text crashes.", code="text_failed")
                part.request.answer.set_exception(error)
        self.put_back(again)

    def done(self, batch: Sequence[RequestPart], predictions: Predictions, generation: int) -> None:
        """Store the predictions of a batch and answer all requests that are now complete."""
        remaining = iter(predictions)
        for part in batch:
            request = part.request
            request.results |= {place: (next(remaining), generation) for place in part.places}
            if len(request.results) == len(request.texts) and not request.answer.done():
                self._finish(request)

    def _finish(self, request: QueuedRequest) -> None:
        """Answer a complete request; if its parts come from two models, queue the older ones again."""
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
        """Maximum texts and characters of a batch with this request; a single text may be longer."""
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
        """Remove one batch from the queue and drop parts of requests that are answered or timed out."""
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
        other = first.request.thresholds != last.request.thresholds
        return suspect or other or texts > most or characters > room


def _single(request: QueuedRequest, place: int, losses: int = 0) -> RequestPart:
    return RequestPart(request, range(place, place + 1), losses)
