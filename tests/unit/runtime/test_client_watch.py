"""Requests of clients that leave."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from starlette.types import Message, Receive

from wattline_runtime.gateway.connections import client_watch
from wattline_runtime.gateway.connections.client_watch import ClientWatches


def watching(
    monkeypatch: pytest.MonkeyPatch, test: Callable[[ClientWatches], Awaitable[None]]
) -> None:
    monkeypatch.setattr(client_watch, "PERIOD_S", 0.0)

    async def run() -> None:
        watches = ClientWatches()
        await asyncio.wait_for(test(watches), 30)
        watches.close()

    asyncio.run(run())


def test_the_requests_of_a_client_that_leaves_are_abandoned(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def test(watches: ClientWatches) -> None:
        abandoned: asyncio.Queue[int] = asyncio.Queue()

        async def receive() -> Message:
            return {"type": "http.disconnect"}

        watches.watch(abandoned.put_nowait, receive, [1, 2])
        assert [await abandoned.get(), await abandoned.get()] == [1, 2]

    watching(monkeypatch, test)


def test_a_request_that_has_ended_is_watched_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(watches: ClientWatches) -> None:
        received: asyncio.Queue[str] = asyncio.Queue()

        def client(name: str) -> Receive:
            async def receive() -> Message:
                received.put_nowait(name)
                await asyncio.Event().wait()
                raise AssertionError

            return receive

        quick = watches.watch(lambda _: None, client("quick"), [1])
        slow = watches.watch(lambda _: None, client("slow"), [2])
        quick.end()
        assert await received.get() == "slow"
        slow.end()
        for _ in range(6):
            await asyncio.sleep(0)
        assert received.empty()
        assert not [task for task in asyncio.all_tasks() if task.get_name() == "client-watch"]

    watching(monkeypatch, test)
