"""Inputs of a request through a cascade: each is escalated by itself, and all keep their order."""

import asyncio
import time
from collections.abc import Sequence

from starlette.types import Receive

from wattline_protocol.routing.model import RouteTarget
from wattline_runtime.gateway.answers.answer_size import AnswerSize
from wattline_runtime.gateway.answers.answers import Answers, entry_name
from wattline_runtime.gateway.answers.fallback import first_deadline_s, settle
from wattline_runtime.gateway.events import RequestKind
from wattline_runtime.gateway.routing.cascade import Part, cascade
from wattline_runtime.gateway.stats import CascadeEnd


async def cascade_inputs(
    answers: Answers,
    target: RouteTarget,
    inputs: Sequence[bytes],
    deadline_s: float,
    kind: RequestKind,
    receive: Receive,
    seen: frozenset[str] | None,
    *,
    may_share: bool,
) -> list[tuple[Part, CascadeEnd | None]]:
    """What became of each input."""
    numbers: list[int] = []
    start_s = time.monotonic()

    async def one(data: bytes) -> tuple[Part, CascadeEnd | None]:
        async def ask(service: str, until_s: float, may_fall_back: bool) -> Part:
            chain = answers.fallback(service) if may_fall_back else ()
            first_s = first_deadline_s(chain, time.monotonic(), until_s)
            number, waiter, is_hit = answers.submit(
                service, data, first_s, seen, kind, may_share=may_share
            )
            numbers.append(number)
            if not chain:
                size.add(outcome := await waiter)
                return Part(outcome, service, is_hit)
            outcome, entry = await settle(
                answers, service, data, until_s, seen, waiter, numbers, kind, may_share=may_share
            )
            size.add(outcome)
            return Part(outcome, entry_name(entry) or service, is_hit, bool(entry))

        return await cascade(target, ask, start_s, deadline_s)

    def abandon() -> None:
        for number in numbers:
            answers.abandon(number)

    size = AnswerSize(abandon)
    watch = answers.watch(receive, numbers)
    try:
        return await asyncio.gather(*map(one, inputs))
    finally:
        watch.end()
        abandon()
