"""Parses what is typed for an act. Errors name a valid form."""

import difflib
import re
from collections.abc import Sequence

from wattline_protocol.ids import DomainId
from wattline_protocol.text.moments import moment_unix_s
from wattline_protocol.text.quantities import parse_duration_s, parse_power_mw
from wattline_protocol.views.power_views import WhatIfPower
from wattline_protocol.views.site_views import DomainView
from wattline_protocol.wire.client_messages import GridEvent, Shed
from wattline_protocol.wire.reservations import Reserve

_AMOUNT = r"(?P<to>to\s+)?(?P<amount>\d+(?:\.\d+)?)\s*(?P<unit>%|kW|MW|W)"
_DOMAIN = r"(?:\s+(?:of\s+)?(?P<domain>(?!for\b|over\b|from\b|until\b)\S+))?"
_SHED = re.compile(
    rf"{_AMOUNT}{_DOMAIN}(?:\s+over\s+(?P<ramp>\d\S*))?(?:\s+for\s+(?P<time>\d\S*))?"
)
_EVENT = re.compile(
    rf"(?P<id>\S+)\s+{_AMOUNT}{_DOMAIN}"
    r"(?:\s+from\s+(?P<start>\S+))?(?:\s+until\s+(?P<end>\S+)|\s+for\s+(?P<time>\d\S*))"
    r"(?:\s+over\s+(?P<ramp>\d\S*))?"
)
_RESERVE = re.compile(
    r"(?P<name>\S+)(?:\s+from\s+(?P<start>\S+))?"
    r"(?:\s+until\s+(?P<end>\S+)|\s+for\s+(?P<time>\d\S*))"
    r"(?:\s+accounts?\s+(?P<accounts>\S+))?(?:\s+users?\s+(?P<users>\S+))?"
)
_LESS = re.compile(r"(?:loses\s+)?(?P<amount>\d+(?:\.\d+)?)\s*(?P<unit>%|kW|MW|W)")
MAX_CHARS = 256


def parse_shed(text: str, domains: Sequence[DomainView], given: str | None = None) -> Shed:
    """`25%`, `40kW of pdu-a over 10m for 3h`, `to 450kW`; of `given` where no domain is named.
    Raises ValueError."""
    found = _SHED.fullmatch(text.strip())
    if found is None:
        raise ValueError(
            f"“{_short(text)}” is not an amount: write 25%, 40kW or to 450kW, then a domain, "
            "over 10m, for 3h"
        )
    domain = _domain(found["domain"] or given, domains)
    fraction, by_mw = _amount(found, domain, domains)
    return Shed(
        domain=domain,
        fraction=fraction,
        by_mw=by_mw,
        for_s=parse_duration_s(found["time"]) if found["time"] else 0.0,
        ramp_s=parse_duration_s(found["ramp"]) if found["ramp"] else 0.0,
    )


def parse_grid_event(
    text: str, domains: Sequence[DomainView], now_unix_s: float, given: str | None = None
) -> GridEvent:
    """`dr-4711 25% of feed-a from 16:00 until 20:00 over 10m`. Raises ValueError."""
    found = _EVENT.fullmatch(text.strip())
    if found is None:
        raise ValueError(
            f"“{_short(text)}” is no grid event: write ID 25% from 16:00 until 20:00, "
            "or ID 40kW of DOMAIN for 3h over 10m"
        )
    domain = _domain(found["domain"] or given, domains)
    fraction, by_mw = _amount(found, domain, domains)
    start_s = moment_unix_s(found["start"], now_unix_s) if found["start"] else now_unix_s
    ends_s = (
        moment_unix_s(found["end"], start_s)
        if found["end"]
        else start_s + parse_duration_s(found["time"])
    )
    return GridEvent(
        id=found["id"],
        end_unix_s=ends_s,
        domain=domain,
        start_unix_s=start_s if found["start"] else 0.0,
        fraction=fraction,
        by_mw=by_mw,
        ramp_s=parse_duration_s(found["ramp"]) if found["ramp"] else 0.0,
    )


def parse_what_if(text: str, domain: DomainId) -> WhatIfPower:
    """`3kW`, `25%`, `fails`: what a domain loses. Raises ValueError."""
    if text.strip() == "fails":
        return WhatIfPower(domain, fails=True)
    found = _LESS.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"“{_short(text)}” is not what {domain} loses: write 3kW, 25% or fails")
    amount = float(found["amount"])
    if found["unit"] != "%":
        return WhatIfPower(domain, by_mw=parse_power_mw(found["amount"] + found["unit"]))
    if not 0 < amount < 100:
        raise ValueError(f"{amount:g} % is not between 0 and 100")
    return WhatIfPower(domain, fraction=amount / 100)


def parse_reserve(text: str) -> Reserve:
    """`fans for 4h`, `course from 16:00 until 18:00 accounts vision,language users ada`; without
    accounts and users it is for maintenance. Raises ValueError."""
    found = _RESERVE.fullmatch(text.strip())
    if found is None:
        raise ValueError(
            f"“{_short(text)}” is no reservation: write NAME for 4h, or NAME from 16:00 until "
            "18:00 accounts A,B users U; without accounts and users it is for maintenance"
        )
    accounts, users = _words(found["accounts"]), _words(found["users"])
    return Reserve(
        name=found["name"],
        start=found["start"] or "",
        end=found["end"] or "",
        for_s=parse_duration_s(found["time"]) if found["time"] else 0.0,
        accounts=accounts,
        users=users,
        is_maintenance=not accounts and not users,
    )


def _words(text: str | None) -> tuple[str, ...]:
    return tuple(word for word in (text or "").split(",") if word)


def _short(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:40]}…"


def _domain(name: str | None, domains: Sequence[DomainView]) -> DomainId | None:
    if name is None:
        return None
    known = [one.id for one in domains]
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(f"no domain {_short(name)}{hint}")
    return DomainId(name)


def _amount(
    found: re.Match[str], name: DomainId | None, domains: Sequence[DomainView]
) -> tuple[float, int]:
    """Share of the full budget, or milliwatts below it. Raises ValueError."""
    amount = float(found["amount"])
    if found["unit"] == "%":
        if not 0 < amount < 100:
            raise ValueError(f"{amount:g} % is not between 0 and 100")
        return (1 - amount / 100 if found["to"] else amount / 100), 0
    by_mw = parse_power_mw(found["amount"] + found["unit"])
    if not found["to"]:
        return 0.0, by_mw
    full_mw = _full_mw(name, domains)
    if by_mw >= full_mw:
        raise ValueError(f"the full budget is {full_mw / 1e6:g} kW: a limit must be lower")
    return 0.0, full_mw - by_mw


def _full_mw(name: DomainId | None, domains: Sequence[DomainView]) -> int:
    for one in domains:
        if one.id == name or (name is None and one.parent is None and one.kind == "power"):
            return round(one.full_budget_w * 1000)
    raise ValueError("the site has no power domain")
