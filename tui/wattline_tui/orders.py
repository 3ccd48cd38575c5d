"""Parses requests typed into the terminal's input line."""

import difflib
import re
from collections.abc import Sequence

from wattline_protocol.ids import DomainId
from wattline_protocol.text.quantities import parse_duration_s
from wattline_protocol.wire.client_messages import Shed

_FORM = re.compile(
    r"(?P<amount>\d+(?:\.\d+)?)\s*(?P<unit>%|kW|MW|W)"
    r"(?:\s+(?:of\s+)?(?P<domain>(?!for\b|over\b)\S+))?"
    r"(?:\s+over\s+(?P<ramp>\d\S*))?(?:\s+for\s+(?P<time>\d\S*))?"
)
_WATTS = {"W": 1_000, "kW": 1_000_000, "MW": 1_000_000_000}


def parse_shed(text: str, domains: Sequence[DomainId]) -> Shed:
    """`25%`, `40kW of pdu-a over 10m for 3h`. Raises ValueError with a valid form."""
    found = _FORM.fullmatch(text.strip())
    if found is None:
        raise ValueError(
            f"“{text}” is not an amount: write 25% or 40kW, then a domain, over 10m, for 3h"
        )
    domain = found["domain"]
    if domain is not None and domain not in domains:
        near = difflib.get_close_matches(domain, domains, n=1)
        raise ValueError(f"no domain {domain}" + (f"; did you mean {near[0]}?" if near else ""))
    amount = float(found["amount"])
    if found["unit"] == "%" and not 0 < amount < 100:
        raise ValueError(f"{amount:g} % is not between 0 and 100")
    return Shed(
        domain=DomainId(domain) if domain else None,
        fraction=amount / 100 if found["unit"] == "%" else 0.0,
        by_mw=0 if found["unit"] == "%" else int(amount * _WATTS[found["unit"]]),
        for_s=parse_duration_s(found["time"]) if found["time"] else 0.0,
        reason="from top",
        ramp_s=parse_duration_s(found["ramp"]) if found["ramp"] else 0.0,
    )
