"""Size of all outputs of one request."""

import asyncio

import pytest

from wattline_runtime.gateway.answers.answer_size import MAX_ANSWER_BYTES, AnswerSize
from wattline_runtime.gateway.errors import BadRequest
from wattline_runtime.gateway.events import Outcome, Output, Refusal
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
