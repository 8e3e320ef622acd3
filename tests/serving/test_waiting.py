"""The waiting line alone: every text answered once and in order, bounds kept, bad texts found."""

import asyncio

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sentiscale.serving.checks import Fault
from sentiscale.serving.queue import EXPLAINED_AT_ONCE, Piece, WaitingLine
from sentiscale.serving.settings import ServeSettings

requests = st.lists(
    st.tuples(st.lists(st.text(max_size=8), min_size=1, max_size=9), st.booleans()), max_size=12
)


def line_with(**changes) -> WaitingLine:
    return WaitingLine(ServeSettings(**{"batch_delay_ms": 0, "max_batch": 4, "max_texts": 10, **changes}))


def answers(batch: list[Piece]) -> list[dict[str, str]]:
    """A worker's answer: each text itself."""
    return [{"said": text} for piece in batch for text in piece.texts]


def texts(batch: list[Piece]) -> list[str]:
    return [text for piece in batch for text in piece.texts]


async def next_batch(line: WaitingLine) -> list[Piece]:
    """What a worker takes; nothing when all that is left belongs to requests that have failed."""
    taking = asyncio.create_task(line.take())
    while line.texts and not taking.done():
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
        line = line_with()
        jobs = [line.submit(one, explain=explain) for one, explain in asked]
        generation, left = 1, list(fates)
        while line.texts:
            batch = await next_batch(line)
            if not batch:
                break
            limit = EXPLAINED_AT_ONCE if batch[0].job.explain else 4
            assert 1 <= len(texts(batch)) <= limit
            assert len({piece.job.explain for piece in batch}) == 1
            fate = left.pop() if left else 0
            if fate == 2:
                line.lost(batch)
            elif fate == 3:
                line.put_back(batch)
            else:
                generation += fate
                line.done(batch, answers(batch), generation)
        for (wanted, _), job in zip(asked, jobs, strict=True):
            failure = job.answer.exception()
            if failure is None:
                found, _ = job.answer.result()
                assert [entry["said"] for entry in found] == wanted
            else:  # more bad luck than one text may have
                assert isinstance(failure, Fault)
                assert failure.code == "text_failed"
                assert fates.count(2) >= 2

    asyncio.run(run())


def test_an_answer_is_of_one_model_only():
    async def run() -> None:
        line = line_with()
        job = line.submit(["a", "b", "c", "d", "e", "f"], explain=False)
        first = await line.take()
        line.done(first, [{"model": 1}] * 4, 1)
        line.done(await line.take(), [{"model": 2}] * 2, 2)
        assert not job.answer.done()
        again = await line.take()
        assert texts(again) == ["a", "b", "c", "d"]
        line.done(again, [{"model": 2}] * 4, 2)
        assert await job.answer == ([{"model": 2}] * 6, 2)

    asyncio.run(run())


def test_the_one_text_that_ends_workers_is_found_and_its_neighbours_are_answered():
    async def run() -> int:
        line = line_with()
        jobs = [line.submit([f"{n}"], explain=False) for n in range(7)] + [
            line.submit(["a", "bad"], explain=False)
        ]
        lost = 0
        while line.texts:
            batch = await line.take()
            if "bad" in texts(batch):
                lost += 1
                line.lost(batch)
            else:
                line.done(batch, answers(batch), 1)
        for n, job in enumerate(jobs[:-1]):
            assert (await job.answer)[0] == [{"said": f"{n}"}]
        with pytest.raises(Fault, match="ends the process") as failed:
            await jobs[-1].answer
        assert failed.value.status == 500
        return lost

    assert asyncio.run(run()) == 3  # twice with others, then alone


def test_what_was_lost_comes_before_what_came_later():
    async def run() -> None:
        line = line_with()
        line.submit(["a", "b", "c", "d"], explain=False)
        line.submit(["later"], explain=False)
        line.lost(await line.take())
        assert texts(await line.take()) == ["a", "b", "c", "d"]

    asyncio.run(run())


def test_the_line_is_bounded():
    async def run() -> None:
        line = line_with(queue=10)
        line.submit(["a"] * 8, explain=False)
        with pytest.raises(
            Fault, match="8 texts are waiting, and 3 more would exceed the limit of 10"
        ) as full:
            line.submit(["a"] * 3, explain=True)
        assert (full.value.status, full.value.limit, full.value.headers) == (429, 10, {"Retry-After": "1"})
        line.submit(["a"] * 2, explain=True)
        assert line.texts == 10

    asyncio.run(run())


def test_nobody_works_for_those_who_left():
    async def run() -> None:
        line = line_with()
        gone = line.submit(["gone"] * 6, explain=False)
        line.submit(["here"], explain=False)
        gone.answer.cancel()
        assert texts(await line.take()) == ["here"]
        assert line.texts == 0

    asyncio.run(run())


def test_characters_bound_a_batch_but_never_keep_a_text_out():
    async def run() -> None:
        line = line_with(batch_characters=100)
        for size in (60, 60, 500, 10, 10):
            line.submit(["x" * size], explain=False)
        taken = [[len(text) for text in texts(await line.take())] for _ in range(4)]
        assert taken == [[60], [60], [500], [10, 10]]

    asyncio.run(run())


def test_a_request_is_cut_where_a_batch_would_have_too_many_characters():
    async def run() -> None:
        line = line_with(batch_characters=100, max_texts=10)
        sizes = [60, 50, 10, 300, 20, 20, 20, 20, 20]
        line.submit(["x" * size for size in sizes], explain=False)
        taken = []
        while line.texts:
            taken.append([len(text) for text in texts(await line.take())])
        assert taken == [[60], [50, 10], [300], [20, 20, 20, 20], [20]]

    asyncio.run(run())


def test_long_texts_are_explained_one_by_one():
    """Four at once held a worker for a second and more, and every prediction behind them."""

    async def run() -> None:
        line = line_with()
        line.submit(["short"] * 4 + ["long" * 500] * 3, explain=True)
        line.submit(["long" * 500], explain=True)
        taken = [len(texts(await line.take())) for _ in range(5)]
        assert taken == [4, 1, 1, 1, 1]

    asyncio.run(run())


def test_explanations_and_predictions_take_turns():
    async def run() -> None:
        line = line_with()
        line.submit(["explain"] * 8, explain=True)
        line.submit(["label"] * 8, explain=False)
        taken = [texts(await line.take())[0] for _ in range(4)]
        assert taken == ["explain", "label", "explain", "label"]

    asyncio.run(run())


def test_a_lone_client_does_not_wait_for_others_but_many_wait_for_each_other():
    async def run() -> None:
        line = line_with(batch_delay_ms=1000, timeout_s=60)
        loop = asyncio.get_running_loop()
        for _ in range(3):
            line.submit(["a"], explain=False)
            assert len(await line.take()) == 1
        for text in "abc":
            line.submit([text], explain=False)
        assert len(await line.take()) == 3
        taking = asyncio.create_task(line.take())  # now three are expected
        started_at = loop.time()
        for text in "abc":
            await asyncio.sleep(0.01)
            line.submit([text], explain=False)
        assert len(await taking) == 3
        assert loop.time() - started_at < 0.9  # it did not wait for the whole delay

    asyncio.run(run())


def test_a_taker_that_is_called_off_takes_nothing_with_it():
    async def run() -> None:
        line = line_with(batch_delay_ms=50)
        line.submit(["a"], explain=False)
        line.submit(["a"], explain=False)
        await line.take()  # two are expected from now on
        taking = asyncio.create_task(line.take())
        await asyncio.sleep(0)
        line.submit(["kept"], explain=False)
        await asyncio.sleep(0.005)
        taking.cancel()
        assert texts(await line.take()) == ["kept"]

    asyncio.run(run())
