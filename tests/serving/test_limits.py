"""Rates and the line: who is let in, in which order, and who is not."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.limits import Line, RateLimit, TooMuch
from serving.shared import Moments, Shared


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def test_a_second_s_worth_at_once_then_the_rate():
    clock = Clock()
    limit = RateLimit(5, clock)
    assert [limit.take("a") == 0 for _ in range(7)] == [True] * 5 + [False] * 2
    assert limit.take("a") == pytest.approx(0.2)
    assert limit.take("b") == 0
    clock.now += 0.2
    assert limit.take("a") == 0 and limit.take("a") > 0


def test_without_a_rate_all_are_let_in():
    limit = RateLimit(0, Clock())
    assert all(limit.take("a") == 0 for _ in range(1000))


@given(
    st.floats(0.1, 1000),
    st.lists(st.floats(0, 3), min_size=1, max_size=200),
)
def test_no_more_are_let_in_than_the_rate_allows(per_second, pauses):
    clock = Clock()
    limit = RateLimit(per_second, clock)
    n_in, start = 0, clock.now
    for pause in pauses:
        clock.now += pause
        n_in += limit.take("a") == 0
        assert n_in <= max(per_second, 1) + (clock.now - start) * per_second + 1e-6


def answer_all(n_requests, line, work):
    """What becomes of requests that come at the same time: "done" or the message, in their order."""

    async def one(number):
        try:
            async with line.turn():
                await work(number)
                return "done"
        except TooMuch as too_much:
            return str(too_much)

    async def all_of_them():
        return await asyncio.gather(*(one(number) for number in range(n_requests)))

    return asyncio.run(all_of_them())


def test_requests_begin_in_the_order_in_which_they_came_one_in_a_turn_of_the_loop():
    began = []
    line = Line(100, 10, Clock(), together=1)

    async def work(number):
        began.append((number, line.n_working))
        await asyncio.sleep(0)

    assert answer_all(20, line, work) == ["done"] * 20
    assert [number for number, _ in began] == list(range(20))
    assert max(n_working for _, n_working in began) <= 2
    assert (len(line), line.n_working) == (0, 0)


def test_some_begin_in_one_turn_and_no_more_than_may():
    n_working = []
    line = Line(100, 10, Clock(), together=3)

    async def work(number):
        n_working.append(line.n_working)
        await asyncio.sleep(0)

    assert answer_all(20, line, work) == ["done"] * 20
    assert max(n_working) == 3
    assert (len(line), line.n_working) == (0, 0)


def test_whoever_finds_the_line_full_is_refused_at_once():
    line = Line(3, 10, Clock(), together=1)

    async def work(number):
        await asyncio.sleep(0)

    found = answer_all(10, line, work)
    assert found == ["done"] * 4 + ["more is asked than can be answered: come again later"] * 6


def test_whoever_has_waited_too_long_is_refused_and_the_next_in_time_is_let_in():
    clock = Clock()
    line = Line(100, 0.05, clock, together=1)

    async def work(number):
        clock.now += 0.02

    found = answer_all(6, line, work)
    assert found[:3] == ["done"] * 3
    assert found[4:] == ["more is asked than can be answered: come again later"] * 2
    assert (len(line), line.n_working) == (0, 0)


def test_in_a_line_that_stands_only_they_are_let_in_who_waited_for_a_few_turns():
    """Ten come for each that can be answered; after the burst, who is let in has hardly waited."""
    clock = Clock()
    line = Line(10_000, 0.1, clock, together=1)
    waits = []

    async def one():
        since = clock.now
        try:
            async with line.turn():
                waits.append((clock.now - 100, clock.now - since))
                clock.now += 0.001
        except TooMuch:
            pass

    async def arrivals():
        tasks = []
        while clock.now < 102:
            tasks += [asyncio.ensure_future(one()) for _ in range(10)]
            before = len(waits)
            while len(waits) == before:
                await asyncio.sleep(0)
        await asyncio.gather(*tasks)

    asyncio.run(arrivals())
    standing = [wait for at, wait in waits if at > 0.3]
    assert len(standing) > 1500
    assert max(standing) <= 0.006


def test_in_a_line_that_stands_there_is_room_for_two_turns():
    """For a quarter, once somebody was refused; after a while in which nobody is, a burst may wait again."""
    clock = Clock()
    line = Line(1000, 0.05, clock, together=4)

    async def come(n_requests):
        tasks = [asyncio.ensure_future(one()) for _ in range(n_requests)]
        await asyncio.sleep(0)
        return tasks

    async def one():
        async with line.turn():
            await goes_on.wait()

    async def in_time():
        burst = await come(100)
        assert (line.n_working, len(line), line.refuses()) == (4, 96, False)
        clock.now += 0.06  # in which none began
        assert line.refuses()  # all of them were, and four are still at work
        later = await come(100)
        assert (line.n_working, len(line), line.refuses()) == (4, 0, True)
        goes_on.set()
        await asyncio.gather(*burst, *later, return_exceptions=True)
        goes_on.clear()
        clock.now += 0.06
        after = await come(100)
        assert (line.n_working, len(line), line.refuses()) == (4, 96, False)
        goes_on.set()
        await asyncio.gather(*after)

    goes_on = asyncio.Event()
    asyncio.run(in_time())


def test_callers_who_ask_again_as_soon_as_they_are_answered_are_never_refused():
    """Sixteen, of whom eleven are at work at a time: the others wait all the time, but not for long."""

    async def all_of_them():
        line = Line(128, 0.05, asyncio.get_running_loop().time, together=11)
        n_refused = 0

        async def caller():
            nonlocal n_refused
            for _ in range(40):
                try:
                    async with line.turn():
                        await asyncio.sleep(0.01)
                except TooMuch:
                    n_refused += 1

        await asyncio.gather(*(caller() for _ in range(16)))
        return n_refused

    assert asyncio.run(all_of_them()) == 0


def test_after_a_stall_callers_who_come_again_later_get_their_answers():
    """Forty, of whom 32 stall: others are refused until those are done, and after that nobody is."""

    async def all_of_them():
        line_time = asyncio.get_running_loop().time
        line, answered, refused = Line(128, 0.05, line_time), [], []

        async def caller():
            for _ in range(60):
                try:
                    async with line.turn():
                        await asyncio.sleep(0.12 if 200 < len(answered) < 230 else 0.005)
                        answered.append(line_time())
                except TooMuch:
                    refused.append(line_time())
                    await asyncio.sleep(0.2)

        await asyncio.gather(*(caller() for _ in range(40)))
        return answered, refused

    answered, refused = asyncio.run(all_of_them())
    assert 8 <= len(refused) <= 80
    assert sum(at > refused[-1] for at in answered) > 1000


def test_a_line_before_work_that_never_ends_is_refused_too():
    async def stuck():
        line = Line(100, 0.05, asyncio.get_running_loop().time)
        never = asyncio.Event()

        async def one():
            async with line.turn():
                await never.wait()

        tasks = [asyncio.ensure_future(one()) for _ in range(80)]
        await asyncio.sleep(0.5)
        refused = [task for task in tasks if task.done() and isinstance(task.exception(), TooMuch)]
        assert (len(refused), line.n_working, len(line)) == (48, 32, 0)
        never.set()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert line.n_working == 0

    asyncio.run(stuck())


def test_whoever_goes_away_while_waiting_leaves_no_gap():
    async def some_go():
        line = Line(100, 10, asyncio.get_running_loop().time)
        done = []

        async def one(number):
            async with line.turn():
                await asyncio.sleep(0)
                done.append(number)

        tasks = [asyncio.ensure_future(one(number)) for number in range(10)]
        await asyncio.sleep(0)
        for number in (1, 4, 9):
            tasks[number].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert done == [0, 2, 3, 5, 6, 7, 8]
        assert (len(line), line.n_working) == (0, 0)

    asyncio.run(some_go())


def test_workers_that_share_a_rate_keep_it_together():
    shared, clock = Shared(2), Clock()
    one, other = (RateLimit(6, clock, shared.moments) for _ in range(2))
    assert [limit.take("a") == 0 for limit in (one, other) * 4] == [True] * 6 + [False] * 2
    assert one.take("b") == 0
    clock.now += 1 / 6
    assert other.take("a") == 0 and one.take("a") > 0


@given(st.sets(st.text(max_size=20), max_size=30))
def test_each_name_has_a_moment_of_its_own(names):
    moments = Moments(memoryview(bytearray(4096)))
    for number, name in enumerate(names):
        moments[name] = float(number)
    assert [moments[name] for name in names] == list(map(float, range(len(names))))
    assert len(moments) == len(names) and moments.get("x" * 21, -1.0) == -1.0
