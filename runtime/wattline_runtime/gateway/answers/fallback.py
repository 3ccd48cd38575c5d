"""Fallbacks of a service that cannot answer, and the error when all of them fail."""

import time

from wattline_protocol.job.service_values import FROM_CACHE, STATIC
from wattline_runtime.gateway.answers.answers import Answers
from wattline_runtime.gateway.events import PLAIN, Output, Refusal, RequestKind
from wattline_runtime.gateway.shell import Waiter

AVOIDABLE = ("no_worker", "queue_full", "too_slow", "deadline", "worker_lost", "stopping")
"""Refusals that another service or a kept answer can avoid: 429, 503 and 504."""
FIRST_SHARE = 0.75
"""Share of its time that a request has for the service itself, where another one may follow."""
MAX_ERROR_CHARS = 2000


def first_deadline_s(chain: tuple[str, ...], now_s: float, deadline_s: float) -> float:
    """Until when the service itself may answer."""
    if any(entry != FROM_CACHE and not entry.startswith(STATIC) for entry in chain):
        return now_s + (deadline_s - now_s) * FIRST_SHARE
    return deadline_s


async def settle(
    answers: Answers,
    service: str,
    key: bytes,
    deadline_s: float,
    seen: frozenset[str] | None,
    waiter: Waiter,
    numbers: list[int],
    kind: RequestKind = PLAIN,
    *,
    may_share: bool = True,
) -> tuple[Output | Refusal | None, str]:
    """The outcome of a request, and which entry of the fallback gave it; empty: the service.

    None: the client has disconnected. `numbers` gets those of the requests that are made.
    `may_share`: answers of other services may be kept, and be those of equal requests.
    """
    began_s = time.monotonic()
    outcome = await waiter
    chain = answers.fallback(service)
    if not chain or not isinstance(outcome, Refusal) or outcome.reason not in AVOIDABLE:
        return outcome, ""
    tried = [f"{service}: {outcome.message}"]
    for entry in chain:
        number, waiter = answers.begin_fallback(
            service, entry, key, deadline_s, seen, kind, may_share=may_share
        )
        numbers.append(number)
        instead = await waiter
        if not isinstance(instead, Refusal):
            if instead is not None:
                answers.count_fallback(service, entry, kind, time.monotonic() - began_s)
            return instead, entry
        tried.append(f"{entry}: {instead.message}")
    text = "; ".join(tried)[:MAX_ERROR_CHARS]
    return Refusal(outcome.reason, text, outcome.retry_after_s), ""
