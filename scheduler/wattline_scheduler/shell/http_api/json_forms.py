"""JSON of the HTTP API: grid events in external form, and the answers."""

from datetime import datetime

import msgspec

from wattline_protocol.ids import DomainId
from wattline_protocol.text.moments import check_year
from wattline_protocol.text.quantities import parse_duration_s, parse_percent, parse_power_mw
from wattline_protocol.views.site_views import LimitView
from wattline_protocol.wire.client_messages import Answer, Denied, Done, GridEvent, Power

MAX_BODY_BYTES = 16 * 1024

Reply = tuple[int, dict[str, object]]
"""HTTP status and JSON."""

STATUS = {
    "not_found": 404,
    "not_allowed": 403,
    "conflict": 409,
    "busy": 503,
    "unavailable": 503,
    "internal": 500,
}
"""HTTP status by kind of `Denied`; any other is 400."""

EXAMPLE = (
    '{"id": "dr-4711", "start": "2026-12-01T16:00:00+01:00", "duration": "3h", "shed": "25%", '
    '"ramp": "10m", "domain": "feed-a", "reason": "peak"}'
)


class _Form(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of a request."""

    id: str
    domain: str | None = None
    start: str | None = None
    """A date and time with its offset; absent: now."""
    end: str | None = None
    duration: str | None = None
    shed: str | None = None
    """Power to shed: "25%" or "40kW"."""
    limit: str | None = None
    """Or the power that remains: "60kW"."""
    ramp: str | None = None
    release: str | None = None
    reason: str = ""


_decoder = msgspec.json.Decoder(_Form)


class BadForm(ValueError):
    """The body is no grid event; the text says what would be valid."""


def grid_event(body: bytes, now_unix_s: float) -> GridEvent:
    """The request in a body. Raises BadForm."""
    try:
        form = _decoder.decode(body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadForm(f"{error}; expected JSON such as {EXAMPLE}") from error
    if (form.shed is None) == (form.limit is None):
        raise BadForm('give either "shed" ("25%", "40kW") or "limit" (what remains: "60kW")')
    start_unix_s = 0.0 if form.start is None else _moment("start", form.start)
    fraction, by_mw = (0.0, 0) if form.shed is None else _shed(form.shed)
    return GridEvent(
        id=form.id,
        end_unix_s=_end(form, start_unix_s or now_unix_s),
        domain=None if form.domain is None else DomainId(form.domain),
        start_unix_s=start_unix_s,
        fraction=fraction,
        by_mw=by_mw,
        to_mw=0 if form.limit is None else _power("limit", form.limit),
        ramp_s=0.0 if form.ramp is None else _duration("ramp", form.ramp),
        release_s=0.0 if form.release is None else _duration("release", form.release),
        reason=form.reason,
    )


def _end(form: _Form, start_unix_s: float) -> float:
    if form.end is not None and form.duration is None:
        return _moment("end", form.end)
    if form.duration is not None and form.end is None:
        return start_unix_s + _duration("duration", form.duration)
    raise BadForm('give either "end" (a time) or "duration" ("3h")')


def _moment(key: str, text: str) -> float:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise BadForm(
            f'"{key}": expected a time with its offset, such as "2026-12-01T16:00:00+01:00"'
        )
    try:
        check_year(moment)
    except ValueError as error:
        raise BadForm(f'"{key}": {error}') from error
    return moment.timestamp()


def _duration(key: str, text: str) -> float:
    try:
        return parse_duration_s(text)
    except ValueError as error:
        raise BadForm(f'"{key}": {error}') from error


def _power(key: str, text: str) -> int:
    try:
        power_mw = parse_power_mw(text)
    except ValueError as error:
        raise BadForm(f'"{key}": {error}') from error
    if power_mw == 0:
        raise BadForm(f'"{key}": expected more than zero')
    return power_mw


def _shed(text: str) -> tuple[float, int]:
    if not text.strip().endswith("%"):
        return 0.0, _power("shed", text)
    try:
        return parse_percent(text), 0
    except ValueError as error:
        raise BadForm(f'"shed": {error}') from error


def reply_to(answer: Answer) -> Reply:
    """The scheduler's answer, as HTTP."""
    match answer:
        case Done(text=text):
            return 200, {"text": text}
        case Denied(kind=kind, reason=reason):
            return STATUS.get(kind, 400), error_body(kind, reason)
        case Power(domains=domains):
            limits = (limit for domain in domains for limit in domain.limits)
            return 200, {"grid_events": [shown(x) for x in limits if x.source == "event"]}
        case _:
            raise AssertionError(f"the door asks for no {type(answer).__name__}")


def error_body(reason: str, message: str) -> dict[str, object]:
    """The form of every refusal."""
    return {"error": {"reason": reason, "message": message}}


def shown(limit: LimitView) -> dict[str, object]:
    """A grid event in its current state."""
    return {
        "id": limit.name.removeprefix("event "),
        "domain": limit.domain,
        "phase": limit.phase,
        "budget_w": limit.value_w,
        "budget_now_w": limit.now_w,
        "start_unix_s": limit.start_unix_s,
        "end_unix_s": limit.end_unix_s,
        "announced_by": limit.requester,
        "reason": limit.why,
    }
