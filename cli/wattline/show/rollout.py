"""A rollout: sentences first, then both revisions."""

from collections.abc import Iterator

from rich.console import Group
from rich.text import Text

from wattline.show.tables import Column, Listing
from wattline_protocol.text.wording import digits
from wattline_protocol.wire.rollouts import ENDED_PHASES, RolloutView

PHASES = {
    "starting": "starts revision {new} beside revision {old}",
    "checking": "checks revision {new} against revision {old}",
    "waiting": "waits with revision {new} beside revision {old}",
    "replacing": "replaces revision {old} by revision {new}",
    "done": "revision {new} has replaced revision {old}",
    "back": "went back from revision {new} to revision {old}",
}


def rollout(view: RolloutView) -> Group:
    """The rollout of a service."""
    return Group(Text("\n".join(lines(view))), Text(), _revisions(view))


def lines(view: RolloutView) -> Iterator[str]:
    """The sentences."""
    phase = PHASES[view.phase].format(new=view.new.job, old=view.old.job)
    yield f"{view.service}: {phase}."
    if view.text:
        word = "Reason" if view.phase in ENDED_PHASES else "Paused" if view.is_paused else "Now"
        yield f"{word}: {view.text}."
    if view.phase == "back":
        yield f"`wattline job {view.new.job}` shows the last lines of its log."
    if view.canary:
        yield f"Canary: {digits(view.canary * 100)} % of the requests."
    if view.shadow:
        uncompared = f", {view.uncompared} not compared" if view.uncompared else ""
        yield (
            f"Shadow: copies of {digits(view.shadow * 100)} % of the requests; {view.equal} "
            f"answers equal, {view.different} different{uncompared} ({view.compare})."
        )


def _revisions(view: RolloutView) -> Listing:
    sides = (view.new, view.old)
    return Listing(
        columns=(
            Column("REVISION", [f"{s.job}" for s in sides]),
            Column("READY", [f"{s.ready}" for s in sides], is_right=True),
            Column("ALLOWED", [f"{s.allowed}" for s in sides], is_right=True),
            Column("REPLICAS", [f"{s.replicas}" for s in sides], is_right=True),
            Column("REQUESTS", [f"{s.requests}" for s in sides], is_right=True),
            Column("ERRORS", [f"{s.errors}" for s in sides], is_right=True),
            Column("P95", [_ms(s.p95_ms) for s in sides], is_right=True),
        ),
        empty="",
    )


def _ms(value_ms: float | None) -> str:
    return "-" if value_ms is None else f"≤ {digits(value_ms)} ms"
