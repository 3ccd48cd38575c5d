"""The header `wattline-joules`: what the GPUs drew for an answer, as its workers measured it."""

from collections.abc import Iterable, Sequence

from starlette.types import Scope

from wattline_runtime.gateway.events import Outcome, Output

JOULES = b"wattline-joules"
ENERGY = "wattline.energy_uj"
"""In the scope of a request: its energy; absent: not measured."""
UJ_PER_J = 1_000_000


def joules_text(energy_uj: int) -> str:
    """Joules, to the microjoule."""
    return f"{energy_uj / UJ_PER_J:.6f}".rstrip("0").rstrip(".")


def total_uj(energies: Iterable[int | None]) -> int | None:
    """The sum of what was measured; None: nothing was."""
    known = [one for one in energies if one is not None]
    return sum(known) if known else None


def energy_of(outcome: Outcome | None) -> int | None:
    """Of an output without a run of its own, and of a refusal, none is known."""
    return outcome.energy_uj if isinstance(outcome, Output) else None


def joules_header(scope: Scope, energy_uj: int | None) -> Sequence[tuple[bytes, bytes]]:
    """The header, if the energy is known; the access log has it too."""
    if energy_uj is None:
        return ()
    scope[ENERGY] = energy_uj
    return ((JOULES, joules_text(energy_uj).encode()),)
