"""Energy of a service's requests, as lines of `wattline service NAME`."""

from wattline.show.tables import Cell
from wattline.show.units import joules, usd
from wattline_protocol.text.wording import elapsed, many
from wattline_protocol.views.service_views import EnergyView

NOT_MEASURED = "not measured"


def rows(energy: EnergyView | None) -> list[tuple[str, Cell]]:
    """What 1,000 requests and tokens cost."""
    if energy is None:
        return [("energy", NOT_MEASURED)]
    requests_j, all_j = energy.per_1000_requests_j, energy.per_1000_requests_with_idle_j
    with_idle = f", {joules(all_j)} with idle" if all_j is not None else ""
    over = f"{many(energy.outputs, 'request')} in {elapsed(energy.seconds)}"
    found: list[tuple[str, Cell]] = [
        ("1,000 requests", f"{joules(requests_j)}{with_idle} ({over})"),
        ("1,000 tokens", joules(energy.per_1000_tokens_j)),
    ]
    if energy.per_1000_requests_usd is not None:
        found.append(("energy cost", f"{usd(energy.per_1000_requests_usd)} for 1,000 requests"))
    return found
