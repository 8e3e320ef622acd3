"""The waiting queue alone: every text answered once and in order, bounds kept, bad texts found."""

import asyncio

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sentiscale.serving.errors import RequestError
from sentiscale.serving.queue import EXPLAIN_BATCH, BatchQueue, RequestPart
from sentiscale.serving.settings import ServeSettings

requests = st.lists(
    st.tuples(st.lists(st.text(max_size=8), min_size=1, max_size=9), st.booleans()), max_size=12
)


def queue_with(**changes) -> BatchQueue:
    return BatchQueue(ServeSettings(**{"batch_delay_ms": 0, "max_batch": 4, "max_texts": 10, **changes}))


def answers(batch: list[RequestPart]) -> list[dict[str, str]]:
    """A worker's answer: each text itself."""
    return [{"said": text} for part in batch for text in part.texts]


def texts(batch: list[RequestPart]) -> list[str]:
    return [text for part in batch for text in part.texts]


async def next_batch(queue: BatchQueue) -> list[RequestPart]:
    """What a worker takes; nothing when all that is left belongs to requests that have failed."""
    taking = asyncio.create_task(queue.take())
    while queue.texts and not taking.done():
        await asyncio.sleep(0)
    if taking.done():
        return taking.result()
    taking.cancel()
    return []


@given(asked=requests, fates=st.lists(st.integers(0, 3), max_size=40))
@example(asked=[(["a", "b", "c", "d", "e"], False)], fates=[2, 2, 2])  # the rest of a request that failed
def test_every_text_is_answered_once_in_order_whatever_workers_do(asked, fates):
    """Fates: 0 answered, 1 answered by the next model, 2 lost, 3 given back."""

    async def run() -> None:
        queue = queue_with()
        jobs = [queue.submit(one, explain=explain) for one, explain in asked]
        generation, left = 1, list(fates)
        while queue.texts:
            batch = await next_batch(queue)
            if not batch:
                break
            limit = EXPLAIN_BATCH if batch[0].request.explain else 4
            assert 1 <= len(texts(batch)) <= limit
            assert len({part.request.explain for part in batch}) == 1
            fate = left.pop() if left else 0
            if fate == 2:
                queue.lost(batch)
            elif fate == 3:
                queue.put_back(batch)
            else:
                generation += fate
                queue.done(batch, answers(batch), generation)
        for (wanted, _), job in zip(asked, jobs, strict=True):
            failure = job.answer.exception()
            if failure is None:
                found, _ = job.answer.result()
                assert [entry["said"] for entry in found] == wanted
            else:  # more bad luck than one text may have
                assert isinstance(failure, RequestError)
                assert failure.code == "text_failed"
                assert fates.count(2) >= 2

    asyncio.run(run())


def test_an_answer_is_of_one_model_only():
    async def run() -> None:
        queue = queue_with()
        job = queue.submit(["a", "b", "c", "d", "e", "f"], explain=False)
        first = await queue.take()
        queue.done(first, [{"model": 1}] * 4, 1)
        queue.done(await queue.take(), [{"model": 2}] * 2, 2)
        assert not job.answer.done()
        again = await queue.take()
        assert texts(again) == ["a", "b", "c", "d"]
        queue.done(again, [{"model": 2}] * 4, 2)
        assert await job.answer == ([{"model": 2}] * 6, 2)

    asyncio.run(run())


def test_the_one_text_that_ends_workers_is_found_and_its_neighbours_are_answered():
    async def run() -> int:
        queue = queue_with()
        jobs = [queue.submit([f"{n}"], explain=False) for n in range(7)] + [
            queue.submit(["a", "bad"], explain=False)
        ]
        lost = 0
        while queue.texts:
            batch = await queue.take()
            if "bad" in texts(batch):
                lost += 1
                queue.lost(batch)
            else:
                queue.done(batch, answers(batch), 1)
        for n, job in enumerate(jobs[:-1]):
            assert (await job.answer)[0] == [{"said": f"{n}"}]
        with pytest.raises(RequestError, match="crashes") as failed:
            await jobs[-1].answer
        assert failed.value.status == 500
        return lost

    assert asyncio.run(run()) == 3  # twice with others, then alone


def test_what_was_lost_comes_before_what_came_later():
    async def run() -> None:
        queue = queue_with()
        queue.submit(["a", "b", "c", "d"], explain=False)
        queue.submit(["later"], explain=False)
        queue.lost(await queue.take())
        assert texts(await queue.take()) == ["a", "b", "c", "d"]

    asyncio.run(run())


def test_the_line_is_bounded():
    async def run() -> None:
        queue = queue_with(queue=10)
        queue.submit(["a"] * 8, explain=False)
        with pytest.raises(
            RequestError, match="8 texts are waiting, and 3 more would exceed the limit of 10"
        ) as full:
            queue.submit(["a"] * 3, explain=True)
        assert (full.value.status, full.value.limit, full.value.headers) == (429, 10, {"Retry-After": "1"})
        queue.submit(["a"] * 2, explain=True)
        assert queue.texts == 10

    asyncio.run(run())


def test_nobody_works_for_those_who_left():
    async def run() -> None:
        queue = queue_with()
        gone = queue.submit(["gone"] * 6, explain=False)
        queue.submit(["here"], explain=False)
        gone.answer.cancel()
        assert texts(await queue.take()) == ["here"]
        assert queue.texts == 0

    asyncio.run(run())


def test_characters_bound_a_batch_but_never_keep_a_text_out():
    async def run() -> None:
        queue = queue_with(batch_characters=100)
        for size in (60, 60, 500, 10, 10):
            queue.submit(["x" * size], explain=False)
        taken = [[len(text) for text in texts(await queue.take())] for _ in range(4)]
        assert taken == [[60], [60], [500], [10, 10]]

    asyncio.run(run())


def test_a_request_is_cut_where_a_batch_would_have_too_many_characters():
    async def run() -> None:
        queue = queue_with(batch_characters=100, max_texts=10)
        sizes = [60, 50, 10, 300, 20, 20, 20, 20, 20]
        queue.submit(["x" * size for size in sizes], explain=False)
        taken = []
        while queue.texts:
            taken.append([len(text) for text in texts(await queue.take())])
        assert taken == [[60], [50, 10], [300], [20, 20, 20, 20], [20]]

    asyncio.run(run())


def test_long_texts_are_explained_one_by_one():
    """Four at once held a worker for a second and more, and every prediction behind them."""

    async def run() -> None:
        queue = queue_with()
        queue.submit(["short"] * 4 + ["long" * 500] * 3, explain=True)
        queue.submit(["long" * 500], explain=True)
        taken = [len(texts(await queue.take())) for _ in range(5)]
        assert taken == [4, 1, 1, 1, 1]

    asyncio.run(run())


def test_requests_with_and_without_thresholds_are_in_different_batches():
    async def run() -> None:
        queue = queue_with()
        for text, thresholds in (("a", True), ("b", True), ("c", False), ("d", True)):
            queue.submit([text], explain=False, thresholds=thresholds)
        assert [texts(await queue.take()) for _ in range(3)] == [["a", "b"], ["c"], ["d"]]

    asyncio.run(run())


def test_explanations_and_predictions_take_turns():
    async def run() -> None:
        queue = queue_with()
        queue.submit(["explain"] * 8, explain=True)
        queue.submit(["label"] * 8, explain=False)
        taken = [texts(await queue.take())[0] for _ in range(4)]
        assert taken == ["explain", "label", "explain", "label"]

    asyncio.run(run())


def test_a_lone_client_does_not_wait_for_others_but_many_wait_for_each_other():
    async def run() -> None:
        queue = queue_with(batch_delay_ms=1000, timeout_s=60)
        loop = asyncio.get_running_loop()
        for _ in range(3):
            queue.submit(["a"], explain=False)
            assert len(await queue.take()) == 1
        for text in "abc":
            queue.submit([text], explain=False)
        assert len(await queue.take()) == 3
        taking = asyncio.create_task(queue.take())  # now three are expected
        started_at = loop.time()
        for text in "abc":
            await asyncio.sleep(0.01)
            queue.submit([text], explain=False)
        assert len(await taking) == 3
        assert loop.time() - started_at < 0.9  # it did not wait for the whole delay

    asyncio.run(run())


def test_a_taker_that_is_called_off_takes_nothing_with_it():
    async def run() -> None:
        queue = queue_with(batch_delay_ms=50)
        queue.submit(["a"], explain=False)
        queue.submit(["a"], explain=False)
        await queue.take()  # two are expected from now on
        taking = asyncio.create_task(queue.take())
        await asyncio.sleep(0)
        queue.submit(["kept"], explain=False)
        await asyncio.sleep(0.005)
        taking.cancel()
        assert texts(await queue.take()) == ["kept"]

    asyncio.run(run())
