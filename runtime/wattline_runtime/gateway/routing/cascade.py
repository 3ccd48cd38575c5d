"""Cascades: a small service answers, and where its confidence is below the limit a large one does.

Whatever becomes of the large one, an answer of the small one is not lost.
"""

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from wattline_protocol.routing.model import RouteTarget
from wattline_runtime.gateway.answers.fallback import FIRST_SHARE, MAX_ERROR_CHARS
from wattline_runtime.gateway.answers.joules import energy_of, total_uj
from wattline_runtime.gateway.events import Outcome, Output, Refusal
from wattline_runtime.gateway.routing.json_path import JsonDocument
from wattline_runtime.gateway.stats import CascadeEnd

RESERVE_SHARE = 0.05
"""Share of its time that is left for an answer of the small service after the large one is late."""
FINAL = ("bad_input", "poison")
"""Refusals of the input itself: the large service is not asked."""


class Part(NamedTuple):
    """What became of one input."""

    outcome: Outcome | None
    """None: the client has disconnected."""
    by: str
    """The service that answered, or what answered instead of it."""
    is_hit: bool = False
    """No run of a model was needed."""
    is_fallback: bool = False
    """Something else than a service of the route answered."""
    spent: int = 0
    """Tokens of an output that another one has replaced."""
    spent_uj: int | None = None
    """Its energy."""

    @property
    def energy_uj(self) -> int | None:
        """Of both; None: not measured."""
        return total_uj((energy_of(self.outcome), self.spent_uj))


Ask = Callable[[str, float, bool], Awaitable[Part]]
"""Asks a service until a time, and with True what answers instead of it."""


async def cascade(
    target: RouteTarget, ask: Ask, now_s: float, deadline_s: float
) -> tuple[Part, CascadeEnd | None]:
    """The answer to one input, and how it came about; None: neither service was at fault."""
    small, large = target.services
    time_s = deadline_s - now_s
    first = await ask(small, now_s + time_s * FIRST_SHARE, True)
    if first.outcome is None or _is_final(first.outcome):
        return first, None
    if _is_sure(first.outcome, target):
        return first, "kept"
    stands = isinstance(first.outcome, Output)
    until_s = deadline_s - time_s * RESERVE_SHARE if stands else deadline_s
    second = await ask(large, until_s, not stands)
    if second.outcome is None:
        return second, None
    if isinstance(second.outcome, Output):
        spent = first.outcome.tokens if isinstance(first.outcome, Output) else 0
        is_hit = first.is_hit and second.is_hit
        spent_uj = energy_of(first.outcome)
        return second._replace(is_hit=is_hit, spent=spent, spent_uj=spent_uj), "escalated"
    if isinstance(first.outcome, Output):
        return first, "failed"
    text = f"{small}: {first.outcome.message}; {large}: {second.outcome.message}"
    reason, retry_after_s = second.outcome.reason, second.outcome.retry_after_s
    return Part(Refusal(reason, text[:MAX_ERROR_CHARS], retry_after_s), ""), "failed"


def _is_final(outcome: Outcome) -> bool:
    return isinstance(outcome, Refusal) and outcome.reason in FINAL


def _is_sure(outcome: Outcome, target: RouteTarget) -> bool:
    """An output without a confidence is not."""
    if not isinstance(outcome, Output) or outcome.is_bytes:
        return False
    confidence = JsonDocument(outcome.body).number_at(target.confidence)
    return confidence is not None and confidence >= target.limit
