"""The SLO of a service as text."""

from wattline.show.styles import alarm
from wattline.show.tables import Cell
from wattline.show.units import NOT_KNOWN
from wattline_protocol.text.wording import digits
from wattline_protocol.views.service_views import SloView

FULL_H = 5.95
"""Known hours of six from which no gap is shown."""


def rows(slo: SloView) -> list[tuple[str, Cell]]:
    """Lines for the details of a service."""
    return [("SLO", _slo(slo)), ("error budget", _budget(slo))]


def _slo(slo: SloView) -> str:
    """What is asked, and what was measured in the last hour."""
    asked = f"p95 {_time(slo.p95_ms)}, errors {_percent(slo.errors)}"
    measured = f"p95 {_time(slo.measured_p95_ms)}, errors {_percent(slo.measured_errors)}"
    return f"{asked}; last hour: {measured}"


def _budget(slo: SloView) -> Cell:
    """Burn rates; 1 = it lasts as long as it is for."""
    rates = [("1 h", slo.burn_1h), ("6 h", slo.burn_6h)]
    known = [f"{digits(burn)} × in {span}" for span, burn in rates if burn is not None]
    if not known:
        return "not known: no load of it is on record"
    gaps = f" ({digits(slo.known_h)} h of 6 h known)" if slo.known_h < FULL_H else ""
    text = f"burns {', '.join(known)}{gaps}"
    is_over = any(burn is not None and burn > 1.0 for _, burn in rates)
    return alarm(text) if is_over else text


def _time(ms: float | None) -> str:
    return NOT_KNOWN if ms is None else f"{digits(ms)} ms"


def _percent(share: float | None) -> str:
    return NOT_KNOWN if share is None else f"{digits(100.0 * share)} %"
