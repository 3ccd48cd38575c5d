"""Site file keys for budgets: schedules, webhooks, and the HTTP API for grid events."""

import re
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

from wattline_protocol.ids import DomainId
from wattline_protocol.site import values as v
from wattline_protocol.site.model import Domain, HttpApi, Schedule, Webhook
from wattline_protocol.site.wall_power import PERMILLE
from wattline_protocol.text.quantities import format_power, parse_percent, parse_power_mw
from wattline_protocol.text.toml_fields import Fields, nearest, text, texts
from wattline_protocol.text.windows import DAY_MINUTES, Window, is_always_open, parse_window

MAX_SCHEDULES = 40
MAX_WINDOWS = 50
MAX_WEBHOOKS = 20
MAX_KINDS = 50
MAX_RAMP_S = 86_400.0
MAX_REASON_CHARS = 200

LOOPBACK = ("localhost", "127.0.0.1", "[::1]", "::1")

_KIND = re.compile(r"[a-z*][a-z0-9_*]{0,63}")

# --- Schedules --------------------------------------------------------------------------


class ScheduleAt(NamedTuple):
    """A schedule as read: its limit is computed when all domains are known."""

    fields: Fields
    schedule: Schedule
    permille: int | None
    """Limit as a share of the budget; None: it is in `schedule`."""


def schedule(fields: Fields) -> ScheduleAt:
    """One table [[schedule]]."""
    none: tuple[int, int | None] = (0, None)
    limit_mw, permille = fields.need("limit", _limit, none)
    read = Schedule(
        domain=DomainId(fields.need("domain", v.name, "")),
        when=fields.need("when", _windows, ()),
        limit_mw=limit_mw,
        ramp_s=fields.take("ramp", v.seconds(0, MAX_RAMP_S), 0.0),
        release_s=fields.take("release", v.seconds(0, MAX_RAMP_S), 0.0),
        reason=fields.take("reason", _reason, ""),
    )
    fields.end()
    if read.when:
        _check_ramp(fields, read)
    return ScheduleAt(fields, read, permille)


def _limit(value: object) -> tuple[int, int | None]:
    """ "80%" of the budget as (0, 800), "40kW" as (40_000_000, None)."""
    if isinstance(value, str) and value.strip().endswith("%"):
        permille = round(parse_percent(value) * PERMILLE)
        if not 0 < permille < PERMILLE:
            raise ValueError("expected more than 0 % and less than 100 % of the budget")
        return 0, permille
    try:
        limit_mw = parse_power_mw(value if isinstance(value, str) else "")
    except ValueError:
        raise ValueError('expected what remains, as in "80%" of the budget or "40kW"') from None
    if limit_mw == 0:
        raise ValueError("expected a remainder above zero")
    return limit_mw, None


def _windows(value: object) -> tuple[str, ...]:
    items = texts(MAX_WINDOWS)(value)
    windows = [parse_window(item) for item in items]
    if is_always_open(windows):
        raise ValueError("these windows never close; lower the rating or the derate instead")
    return items


def _check_ramp(fields: Fields, read: Schedule) -> None:
    shortest_min = min(_lasts_min(parse_window(item)) for item in read.when)
    if read.ramp_s > shortest_min * 60:
        fields.blame("the ramp is longer than the shortest window", "ramp")


def _lasts_min(window: Window) -> int:
    days_on_end = len(window.days) if window.lasts_min == DAY_MINUTES else 1
    return window.lasts_min * days_on_end


def _reason(value: object) -> str:
    reason = text(value)
    if len(reason) > MAX_REASON_CHARS or "\n" in reason:
        raise ValueError(f"expected one line of at most {MAX_REASON_CHARS} characters")
    return reason


def resolved(read: list[ScheduleAt], domains: Mapping[DomainId, Domain]) -> tuple[Schedule, ...]:
    """The schedules with their limits in milliwatts; reports invalid ones."""
    if len(read) > MAX_SCHEDULES:
        read[MAX_SCHEDULES].fields.blame(f"{len(read)} schedules, at most {MAX_SCHEDULES}")
    return tuple(_resolved(one, domains) for one in read)


def _resolved(read: ScheduleAt, domains: Mapping[DomainId, Domain]) -> Schedule:
    fields, schedule, permille = read
    domain = domains.get(schedule.domain)
    if domain is None:
        near = nearest(schedule.domain, domains)
        hint = f"the nearest is {near}" if near else f"there are {', '.join(domains) or 'none'}"
        fields.blame(f"there is no domain named {schedule.domain}; {hint}", "domain")
        return schedule
    full_mw = domain.budget_mw
    limit_mw = schedule.limit_mw if permille is None else full_mw * permille // PERMILLE
    if limit_mw >= full_mw > 0:
        fields.blame(
            f"{format_power(limit_mw)} has no effect: the budget of {domain.id} is "
            f"{format_power(full_mw)}",
            "limit",
        )
    return Schedule(
        domain=schedule.domain,
        when=schedule.when,
        limit_mw=limit_mw,
        ramp_s=schedule.ramp_s,
        release_s=schedule.release_s,
        reason=schedule.reason,
    )


# --- Webhooks and the HTTP API ----------------------------------------------------------


def webhooks(top: Fields) -> tuple[Webhook, ...]:
    """All tables [[webhook]]."""
    tables = top.tables("webhook")
    if len(tables) > MAX_WEBHOOKS:
        top.blame(f"{len(tables)} webhooks, at most {MAX_WEBHOOKS}", "webhook")
    hooks = tuple(_webhook(fields) for fields in tables)
    urls = [hook.url for hook in hooks]
    for at, (fields, url) in enumerate(zip(tables, urls, strict=True)):
        if url and url in urls[:at]:
            fields.blame(f"{url} has a webhook already; list all its events there", "url")
    return hooks


def _webhook(fields: Fields) -> Webhook:
    hook = Webhook(
        url=fields.need("url", _url, ""),
        events=fields.need("events", _kinds, ()),
        secret_file=fields.need("secret_file", v.file_path, ""),
    )
    fields.end()
    return hook


def _url(value: object) -> str:
    url = text(value)
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
        raise ValueError(
            'expected a URL such as "https://ops.example.org/wattline", without password'
        )
    return url


def _kinds(value: object) -> tuple[str, ...]:
    kinds = texts(MAX_KINDS)(value)
    for kind in kinds:
        if _KIND.fullmatch(kind) is None:
            raise ValueError(
                f'"{kind}": expected kinds of events such as "budget_*" or "over_budget"'
            )
    return kinds


def http_api(top: Fields) -> HttpApi | None:
    """The table [http]; None when it is absent."""
    is_there = "http" in top
    fields = top.table("http")
    if not is_there:
        return None
    door = HttpApi(
        listen=fields.need("listen", v.http_address, ""),
        token_file=fields.need("token_file", v.file_path, ""),
        caller=fields.take("caller", v.name, "grid"),
    )
    fields.end()
    return door


def is_loopback(address: str) -> bool:
    """Whether "HOST:PORT" is reachable from this host alone."""
    return address.rpartition(":")[0] in LOOPBACK
