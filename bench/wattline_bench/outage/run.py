"""Runs the phases one after the other under one load, and counts what each cost."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from wattline.demo.processes import adopt_orphans
from wattline.failures import ActFailed
from wattline_bench.outage.ground import SERVICE, Ground
from wattline_bench.outage.load import Asked, Clients
from wattline_bench.outage.phases import PHASES
from wattline_bench.rig.site import LOOK_S
from wattline_bench.verdict import Figures, judged, over

LATE_SHARE_MAX = 0.001
SETTLED_S = 3.0
"""A phase ends so long after the service is whole again: later effects count for it too."""


class PhaseFigures(Figures, frozen=True):
    """Requests that were due in a phase, by what became of them."""

    what: str
    requests: int
    answered: int
    late: int
    fallback: int
    refused: int
    lost: int
    p99_ms: float
    """Of the answered ones."""
    window_s: float
    """From the fault until each gateway had all replicas for good."""
    lost_as: tuple[str, ...] = ()
    """What clients saw of lost requests, up to five."""


class Outage(Figures, frozen=True):
    """All phases."""

    phases: tuple[PhaseFigures, ...]
    lost: int
    late: int
    scaled: int
    """Changes of the number of replicas, which follows the load and an SLO."""
    ok: bool
    """None lost, and at most 0.1 % late."""

    def misses(self) -> tuple[str, ...]:
        """Over all phases."""
        requests = sum(each.requests for each in self.phases)
        return (
            *over("lost requests", self.lost, 0),
            *over("late requests", self.late, LATE_SHARE_MAX * requests),
        )


@judged
def measure(*, only: Sequence[str]) -> Outage:
    """The phases, or some. Raises ActFailed for the name of none."""
    unknown = [name for name in only if name not in PHASES]
    if unknown:
        raise ActFailed(f"no phase {unknown[0]!r}; phases: {', '.join(PHASES)}")
    adopt_orphans()
    with TemporaryDirectory(prefix="wattline-bench-") as folder:
        ground = Ground(Path(folder))
        try:
            ground.start()
            rows = _under_load(ground, [n for n in PHASES if n in only or not only])
            scaled = ground.scaled()
        finally:
            ground.close()
    requests, late = sum(r.requests for r in rows), sum(r.late for r in rows)
    lost = sum(r.lost for r in rows)
    return Outage(rows, lost, late, scaled, ok=lost == 0 and late <= LATE_SHARE_MAX * requests)


class Watch:
    """Looks all the time whether the service is whole."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self.broken_s = 0.0
        """Monotonic time when it last was not."""

    def settled(self, since_s: float) -> Callable[[], bool]:
        """Whether it has been whole for `SETTLED_S`, all of it after a time."""
        return lambda: time.monotonic() - max(self.broken_s, since_s) >= SETTLED_S

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._is_over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._is_over.wait(LOOK_S):
            if not self._ground.is_whole():
                self.broken_s = time.monotonic()


def _under_load(ground: Ground, names: list[str]) -> tuple[PhaseFigures, ...]:
    load = Clients(list(ground.urls.values()), SERVICE, ground.headers)
    load.start()
    watch = Watch(ground)
    watch.start()
    spans: list[tuple[str, float, float, float]] = []
    try:
        for name in names:
            began_s = time.monotonic()
            PHASES[name](ground)
            ground.until(watch.settled(time.monotonic()), "the service is whole, and stays")
            window_s = max(0.0, watch.broken_s - began_s)
            spans.append((name, window_s, began_s, time.monotonic()))
    finally:
        load.stop()
        watch.stop()
    return tuple(
        _figures(name, window_s, [one for one in load.done if began_s <= one.due_s < end_s])
        for name, window_s, began_s, end_s in spans
    )


def _figures(name: str, window_s: float, asked: list[Asked]) -> PhaseFigures:
    count = Counter(one.outcome for one in asked)
    took_s = sorted(one.took_s for one in asked if one.outcome == "answered")
    seen = Counter(one.detail for one in asked if one.outcome == "lost")
    return PhaseFigures(
        what=name,
        requests=len(asked),
        answered=count["answered"],
        late=count["late"],
        fallback=count["fallback"],
        refused=count["refused"],
        lost=count["lost"],
        p99_ms=round(took_s[int(len(took_s) * 0.99)] * 1e3, 1) if took_s else 0.0,
        window_s=round(window_s, 2),
        lost_as=tuple(text for text, _ in seen.most_common(5)),
    )
