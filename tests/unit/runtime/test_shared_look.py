"""What is made for many at once: once for all that ask, after they asked, and for a share of the
time."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from wattline_runtime.gateway.telemetry.shared_look import MOST_PAUSE_S, SharedLook


def numbered(entered: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[int]]:
    """Makes 1, 2, 3 …"""
    made = 0

    async def make() -> int:
        nonlocal made
        made += 1
        number = made
        await entered()
        return number

    return make


async def at_once() -> None: ...


async def test_all_that_ask_together_get_one() -> None:
    look = SharedLook(numbered(at_once))
    assert await asyncio.gather(*(look.get() for _ in range(5))) == [1] * 5
    assert await look.get() == 2


async def test_who_asks_while_one_is_made_gets_the_next() -> None:
    began, may_end = asyncio.Event(), asyncio.Event()

    async def entered() -> None:
        began.set()
        await may_end.wait()

    look = SharedLook(numbered(entered))
    first = asyncio.create_task(look.get())
    await began.wait()
    others = [asyncio.create_task(look.get()) for _ in range(3)]
    may_end.set()
    assert await first == 1
    assert await asyncio.gather(*others) == [2] * 3


@pytest.mark.parametrize(("took_s", "pause_s"), [(0.02, 0.18), (5.0, MOST_PAUSE_S)])
async def test_the_next_begins_after_nine_times_as_long(
    monkeypatch: pytest.MonkeyPatch, took_s: float, pause_s: float
) -> None:
    clock, slept, sleep = [100.0], list[float](), asyncio.sleep

    async def passed(delay_s: float) -> None:
        slept.append(delay_s)
        await sleep(0)

    async def entered() -> None:
        clock[0] += took_s

    monkeypatch.setattr(asyncio, "sleep", passed)
    look = SharedLook(numbered(entered), lambda: clock[0])
    assert [await look.get(), await look.get()] == [1, 2]
    assert slept == pytest.approx([0.0, pause_s])


async def test_one_that_fails_fails_for_those_that_asked_and_one_that_left_ends_none() -> None:
    async def refuse() -> None:
        raise OSError("away")

    fails = iter([refuse, at_once, at_once])
    look = SharedLook(numbered(lambda: next(fails)()))
    ends = await asyncio.gather(look.get(), look.get(), return_exceptions=True)
    assert [type(end) for end in ends] == [OSError, OSError]
    gone, stays = asyncio.create_task(look.get()), asyncio.create_task(look.get())
    await asyncio.sleep(0)
    gone.cancel()
    assert await stays == 2
