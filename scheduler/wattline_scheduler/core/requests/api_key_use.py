"""Use of API keys as gateways report it, and the part of each key's rate that each may grant.

Theory. A key's rate holds over all gateways, and its requests may come to any of them. A tenth of
the rate is divided evenly, so that no gateway refuses the first requests that come to it; the rest
in proportion to what was asked for lately, granted or not. Each gateway applies its newest part
until its next report, so a part grows only by what the others have given up: the parts add up to
the whole, and for the second in which gateways are new to about a tenth more. Parts are not on
record: a gateway that has not reported since a restart keeps its own. So does one that is cut off,
while the others divide the whole: the sum may then exceed the rate by that part.

A token budget is divided by the same parts: each gateway may use its part of what is left of the
day, until the next report. So the parts follow what is left, and the sum exceeds a budget by what
is used within a second at most, and by what was in progress when it was used up.
"""

import msgspec

from wattline_protocol.ids import Instant, Now
from wattline_protocol.wire.api_keys import (
    ApiKeyShares,
    ApiKeyUse,
    BudgetDay,
    KeyDemand,
    ReportApiKeyUse,
)
from wattline_protocol.wire.bounds import encodable
from wattline_scheduler.core.model.api_key_book import GatewayUse, tokens_of_day
from wattline_scheduler.core.model.state import State

SILENT_S = 5.0
"""A gateway without a report for so long gets no part."""

MAX_GATEWAYS = 1_024
"""Maximum number of gateways whose reports are kept."""

SAVE_PERIOD_S = 10.0
"""A crash loses the use that was reported since the last save."""


def report_use(state: State, gateway: str, request: ReportApiKeyUse, now: Now) -> ApiKeyShares:
    """Counts what a gateway reports; a repeated report counts once. Returns its parts."""
    gateways = state.api_keys.gateways
    known = gateways.get(gateway)
    if known is None:
        if len(gateways) >= MAX_GATEWAYS:
            return ApiKeyShares(0.0)
        known = gateways[gateway] = GatewayUse(now.mono_s, KeyDemand(now.mono_s))
    if request.report != known.report:
        known.report = request.report
        # Of keys that there are, so that a gateway cannot fill the memory with others.
        uses = (one for one in request.uses if state.api_keys.of_digest(one.digest) is not None)
        known.demand.add(uses, now.mono_s)
        for one in request.uses:
            _count(state, one, request.day_unix_s, now)
    known.heard_at = now.mono_s
    return _shares(state, gateway, now)


def _count(state: State, one: ApiKeyUse, reported_day_unix_s: float, now: Now) -> None:
    record = state.api_keys.of_digest(one.digest)
    if record is None:
        return  # revoked meanwhile
    day_unix_s = state.calendar.day(now.unix_s).start_unix_s
    is_of_day = reported_day_unix_s in (0.0, day_unix_s)  # else it was away as the day began
    before = tokens_of_day(record, day_unix_s)
    changed = msgspec.structs.replace(
        record,
        requests=encodable(record.requests + one.requests),
        refused=encodable(record.refused + one.refused),
        used_unix_s=max(record.used_unix_s or one.newest_unix_s, one.newest_unix_s),
        tokens=encodable(record.tokens + one.tokens),
        day_tokens=encodable(before + (one.tokens_today if is_of_day else 0)),
        day_unix_s=day_unix_s,
        energy_uj=encodable(record.energy_uj + one.energy_uj),
    )
    state.api_keys.count(changed)
    if before < changed.tokens_per_day <= changed.day_tokens:
        state.journal.save(changed)  # a crash must not return a budget that is used up


def _shares(state: State, gateway: str, now: Now) -> ApiKeyShares:
    """Parts of a gateway among those that report."""
    book = state.api_keys
    own = book.gateways[gateway].demand
    alive = [one.demand for one in book.gateways.values() if not _is_silent(one, now)]
    others = [one for one in alive if one is not own]
    in_use = {digest for one in alive for digest in one.per_s} if others else ()
    own.grant((digest for digest in in_use if _is_limited(state, digest)), others, len(alive))
    day = _day(state, now)
    used_tokens = dict(book.used_tokens(day.start_unix_s))
    return ApiKeyShares(own.share, own.shares, day, used_tokens)


def _is_limited(state: State, digest: str) -> bool:
    record = state.api_keys.of_digest(digest)
    return record is not None and bool(record.rate_per_s or record.tokens_per_day)


def _day(state: State, now: Now) -> BudgetDay:
    day = state.calendar.day(now.unix_s)
    left_s = max(0.0, day.end_unix_s - now.unix_s)
    return BudgetDay(day.start_unix_s, day.end_unix_s - day.start_unix_s, left_s)


def _is_silent(one: GatewayUse, now: Now) -> bool:
    return now.mono_s - Instant(one.heard_at) > SILENT_S


def tick_api_keys(state: State, now: Now) -> None:
    """Saves what was counted, and forgets gateways that are silent."""
    book = state.api_keys
    if now.mono_s < book.saved_at + SAVE_PERIOD_S:
        return
    book.saved_at = now.mono_s
    for name in book.take_counted():
        state.journal.save(book.by_name[name])
    for name in [name for name, one in book.gateways.items() if _is_silent(one, now)]:
        del book.gateways[name]
