"""The health gate: does the new revision answer as well as the old one, under real traffic?"""

from math import sqrt

from wattline_scheduler.core.model.service_traffic import P95, Tally

MIN_ERRORS = 3
"""Fewer errors decide nothing."""

ERROR_MARGIN = 0.02
"""Share of errors above that of the old revision from which the new one fails."""

MIN_ANSWERS = 20
"""Answers of each revision before times are compared."""

SLOWER = 1.5
SLACK_S = 0.01
"""Slow are answers that take longer than this factor times the old revision's p95, and this."""

DEVIATIONS = 3.0
"""More slow answers than the expected 5 % by so many standard deviations, and one, are too many."""


def failing(old: Tally, new: Tally) -> str:
    """Reason if the new revision is worse than the old one; empty = not as far as is known."""
    if new.errors >= MIN_ERRORS and new.error_rate > old.error_rate + ERROR_MARGIN:
        return (
            f"{new.errors} of its {new.requests} requests failed, "
            f"{old.errors} of {old.requests} of the old revision"
        )
    old_s, total = old.p95_s, new.answers
    if old_s is None or min(total, old.answers) < MIN_ANSWERS:
        return ""
    limit_s = SLOWER * old_s + SLACK_S
    expected, slow = (1 - P95) * total, new.slower_than(limit_s)
    if slow > expected + DEVIATIONS * sqrt(expected * P95) + 1:
        return f"{slow} of its {total} answers took longer than {limit_s * 1000:.0f} ms"
    return ""
