"""Energy of a service's requests, as lines of `wattline service NAME`."""

from collections.abc import Sequence

from wattline.show.tables import Cell, Column
from wattline.show.units import NOT_KNOWN, usd
from wattline_protocol.text.wording import counted, digits, elapsed
from wattline_protocol.views.service_views import EnergyView, WorkerView

NOT_MEASURED = "not measured"


def rows(energy: EnergyView | None) -> list[tuple[str, Cell]]:
    """What 1,000 requests and tokens cost."""
    if energy is None:
        return [("energy", NOT_MEASURED)]
    requests_j, all_j = energy.per_1000_requests_j, energy.per_1000_requests_with_idle_j
    with_idle = f", {joules(all_j)} with idle" if all_j is not None else ""
    over = f"{counted(energy.outputs, 'request')} in {elapsed(energy.seconds)}"
    found: list[tuple[str, Cell]] = [
        ("1,000 requests", f"{joules(requests_j)}{with_idle} ({over})"),
        ("1,000 tokens", joules(energy.per_1000_tokens_j)),
    ]
    if energy.per_1000_requests_usd is not None:
        found.append(("energy cost", f"{usd(energy.per_1000_requests_usd)} for 1,000 requests"))
    return found


def column(workers: Sequence[WorkerView]) -> list[Column]:
    """Energy of each worker's GPUs since its start, if any was measured."""
    if all(worker.joules is None for worker in workers):
        return []
    return [Column("ENERGY", [joules(w.joules) for w in workers], is_right=True, weight=4)]


def joules(value_j: float | None) -> str:
    """`62.5 J`, `1.2 kJ`, `3.4 MJ`."""
    if value_j is None:
        return NOT_KNOWN
    for unit, size_j in (("MJ", 1e6), ("kJ", 1e3)):
        if abs(value_j) >= size_j:
            return f"{digits(value_j / size_j)} {unit}"
    return f"{digits(value_j)} J"
