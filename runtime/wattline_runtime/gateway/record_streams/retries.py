"""Which refusals are tried again, and when. No I/O."""

FIRST_S = 0.1
MOST_S = 30.0
SLOW_TRIES = 3
"""Tries of an input that is not answered within its time: it may be the reason itself."""

TRIED_AGAIN = (
    "no_worker",
    "queue_full",
    "too_slow",
    "worker_lost",
    "stopping",
    "unknown_service",
    "deadline",
)
"""Refusals by the service's state, not by the input. Workers that an input ends are counted by the
core, which then refuses it as `poison`."""


def retry_delay_s(reason: str, tries: int, retry_after_s: int = 0) -> float | None:
    """Time until the next try after `tries` of them; None: the refusal is final."""
    if reason not in TRIED_AGAIN or (reason == "deadline" and tries >= SLOW_TRIES):
        return None
    delay_s: float = FIRST_S * 2.0 ** min(tries - 1, 16)
    return min(MOST_S, max(delay_s, float(retry_after_s)))
