"""Size of all outputs of one request."""

import asyncio
from itertools import pairwise
from typing import Any, cast

import pytest

from wattline_runtime.gateway.answers.answer_size import MAX_ANSWER_BYTES, AnswerSize
from wattline_runtime.gateway.errors import BadRequest
from wattline_runtime.gateway.events import Outcome, Output, Refusal
from wattline_runtime.gateway.infer import LARGE_BYTES, InferApp
from wattline_runtime.gateway.shell import Waiter

HALF = Output(b"x" * (MAX_ANSWER_BYTES // 2))
MORE = Output(b"x")


def test_outputs_that_come_before_the_first_end_a_request_that_is_too_large() -> None:
    """It would hold all of them for as long as the first input takes."""

    async def run() -> None:
        waiters: list[Waiter] = [asyncio.get_running_loop().create_future() for _ in range(4)]

        def abandon() -> None:
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)

        size = AnswerSize(abandon)
        waiters[3].set_result(HALF)
        for waiter in waiters:
            size.watch(waiter)
        waiters[2].set_result(HALF)
        await asyncio.sleep(0)
        assert not waiters[0].done()
        waiters[1].set_result(MORE)
        assert await waiters[0] is None
        with pytest.raises(BadRequest, match="exceed 16 MiB together; send fewer") as found:
            size.add(None)
        assert found.value.reason == "output_too_large"

    asyncio.run(run())


def test_only_outputs_count() -> None:
    size = AnswerSize(lambda: None)
    none: list[Outcome | None] = [None, Refusal("deadline", "x" * 100)]
    for outcome in (*none, HALF, HALF):
        size.add(outcome)
    with pytest.raises(BadRequest):
        size.add(MORE)


def test_large_answers_are_made_in_turns_of_the_loop() -> None:
    """100 clients that ask at once would have 1.6 GB before any of it counts as unread."""

    async def run() -> None:
        none: Any = None
        app = cast("Any", InferApp(none, none, none, none, none))
        parts = [b"x" * LARGE_BYTES, b"y"]
        made = [asyncio.create_task(app._body(parts, is_single=False)) for _ in range(4)]
        done = [0]
        while done[-1] < len(made):
            await asyncio.sleep(0)
            done.append(sum(one.done() for one in made))
        assert {after - before for before, after in pairwise(done)} == {0, 1}
        assert {await one for one in made} == {b'{"outputs":[' + b",".join(parts) + b"]}"}
        assert await app._body([b"1"], is_single=True) == b'{"output":1}'

    asyncio.run(run())
