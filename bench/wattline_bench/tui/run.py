"""The terminal on a large site: how soon it shows what is new, and what it costs.

A real scheduler process with played nodes (a beat a second each, a task on all GPUs) and a queue;
each second 1 % of the nodes and of the waiting jobs change. The terminal is the program of
`wattline top` in a pseudo-terminal of 200 x 60, with the overview open. Cursor keys are pressed at
random moments. Of the terminal: its processor time and memory, when it had decoded a picture and
written its frame, and the age of what is on screen, which is oldest just before the next frame. Of
the scheduler: its processor time beside three terminals and beside none.
"""

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import NamedTuple

import msgspec
import psutil

from wattline_bench.rig.quantiles import Quantiles, quantiles
from wattline_bench.rig.site import LiveSite, core_time
from wattline_bench.tui.busy import busy_site
from wattline_bench.tui.program import ARRIVED, SHOWN
from wattline_bench.tui.relay import Relay
from wattline_bench.tui.window import Window, burst_end
from wattline_bench.verdict import Figures, judged, over
from wattline_protocol.trust.keys import JoinBundle, save_bundle

FIRST_PAINT_MS_MAX = 500.0
KEY_P99_MS_MAX = 100.0
CPU_PCT_MAX = 10.0
AGE_P99_S_MAX = 2.0
SCHEDULER_PCT_MAX = 10.0

TERMINALS = 3
KEYS = (b"\x1b[B", b"\x1b[A")
"""Down and up."""
KEY_EVERY_S = (0.2, 0.8)
GAP_S = 0.02
"""A frame is written once nothing more follows for so long."""
FIRST_WITHIN_S = 120.0
KEY_WITHIN_S = 30.0
"""A terminal that shows nothing of a key for so long has failed."""
SETTLE_S = 10.0


class Terminal(Figures, frozen=True):
    """What was measured."""

    nodes: int
    jobs: int
    first_paint_ms: float
    """From the full picture decoded to its frame written."""
    key_to_paint_ms: Quantiles
    cpu_pct: float
    """Of one core: the terminal's process."""
    rss_mib: float
    age_s: Quantiles
    """Of what is on screen, just before the next frame."""
    bytes_per_s: float
    """From the scheduler to one terminal."""
    screen_bytes_per_s: float
    scheduler_cpu_pct: float
    """Of one core, with three terminals, beyond what it takes without."""
    scheduler_alone_cpu_pct: float
    pictures: int
    keys: int
    starved_pct: float
    """Of the time in which the terminal had work it waited so much for a processor that others had:
    on a busy machine times are longer than they would be by about 1 / (1 - this)."""
    scheduler_starved_pct: float
    busy_cores: float
    """Of the whole machine, others' work included."""

    def misses(self) -> tuple[str, ...]:
        """Of all five."""
        return (
            *over("first paint ms", self.first_paint_ms, FIRST_PAINT_MS_MAX),
            *over("key to paint, p99 ms", self.key_to_paint_ms.p99, KEY_P99_MS_MAX),
            *over("terminal, % of one core", self.cpu_pct, CPU_PCT_MAX),
            *over("age, p99 s", self.age_s.p99, AGE_P99_S_MAX),
            *over("scheduler, % of one core more", self.scheduler_cpu_pct, SCHEDULER_PCT_MAX),
        )


class Watched(NamedTuple):
    """Figures of one terminal while keys are pressed."""

    key_to_paint_ms: Quantiles
    cpu_pct: float
    rss_mib: float
    age_s: Quantiles
    bytes_per_s: float
    screen_bytes_per_s: float
    pictures: int
    keys: int
    starved_pct: float
    scheduler_starved_pct: float
    busy_cores: float


class Note(NamedTuple):
    """A line of the terminal's program."""

    what: str
    at_s: float
    made_s: float


class Opened:
    """One terminal."""

    def __init__(self, folder: Path, bundle: JoinBundle) -> None:
        self._notes = folder / "notes"
        path = folder / "bundle.toml"
        save_bundle(bundle, path)
        command = [sys.executable, "-m", "wattline_bench.tui.program", str(path), str(self._notes)]
        self.window = Window(command)

    def notes(self) -> list[Note]:
        """What its program noted so far."""
        lines = self._notes.read_text("ascii").splitlines() if self._notes.exists() else []
        return [Note(what, float(at), float(made)) for what, at, made in map(str.split, lines)]

    def wait_shown(self) -> None:
        """Until its first picture is on screen."""
        until_s = time.monotonic() + FIRST_WITHIN_S
        while not any(note.what == SHOWN for note in self.notes()):
            if not self.window.is_running or time.monotonic() > until_s:
                end = self.window.newest.decode(errors="replace")
                raise RuntimeError(f"the terminal shows nothing; it wrote {end!r}")
            time.sleep(0.05)


@judged
def measure(*, nodes: int, jobs: int, seconds: float) -> Figures:
    """Set the site up, open terminals, press keys."""
    with busy_site(nodes, jobs) as (live, _), _opened(live) as terminals:
        time.sleep(SETTLE_S)
        alone = _cores(live, seconds)
        terminal, relay = next(terminals)
        time.sleep(SETTLE_S)
        own = _watched(live, terminal, relay, seconds)
        for _ in range(TERMINALS - 1):
            next(terminals)
        time.sleep(SETTLE_S)
        beside = _cores(live, seconds)
        notes, writes = terminal.notes(), terminal.window.writes
        return Terminal(
            nodes=nodes,
            jobs=jobs,
            first_paint_ms=_first_paint_ms(notes, writes),
            scheduler_cpu_pct=100 * (beside - alone),
            scheduler_alone_cpu_pct=100 * alone,
            **own._asdict(),
        )


@contextmanager
def _opened(live: LiveSite) -> Iterator[Iterator[tuple[Opened, Relay]]]:
    """Terminals one after the other, all closed at the end."""
    with ExitStack() as until_over:

        def each() -> Iterator[tuple[Opened, Relay]]:
            while True:
                relay = Relay(live.site.client_endpoint)
                until_over.callback(relay.close)
                folder = Path(until_over.enter_context(TemporaryDirectory(prefix="wattline-tui-")))
                bundle = msgspec.structs.replace(live.operator, client_endpoint=relay.endpoint)
                one = Opened(folder, bundle)
                until_over.callback(one.window.close)
                one.wait_shown()
                yield one, relay

        yield each()


def _cores(live: LiveSite, seconds: float) -> float:
    before = live.core_time()
    time.sleep(seconds)
    return live.core_time().share_since(before)


def _watched(live: LiveSite, terminal: Opened, relay: Relay, seconds: float) -> Watched:
    """A terminal while keys are pressed."""
    window, dice = terminal.window, Random(1)
    before, of_scheduler = core_time(window.program), live.core_time()
    received = relay.bytes_to_client
    psutil.cpu_percent()
    began_s = time.monotonic()
    pressed: list[float] = []
    while time.monotonic() < began_s + seconds:
        pressed.append(window.press(KEYS[len(pressed) % len(KEYS)]))
        time.sleep(dice.uniform(*KEY_EVERY_S))
    ended_s = time.monotonic()
    after, of_scheduler_after = core_time(window.program), live.core_time()
    window.wait_writes(pressed[-1], KEY_WITHIN_S)
    took_s = ended_s - began_s
    writes = [one for one in window.writes if one[0] >= began_s]
    ages_s = _ages_s([note for note in terminal.notes() if began_s <= note.at_s <= ended_s])
    return Watched(
        key_to_paint_ms=quantiles(_key_ms(pressed, writes)),
        cpu_pct=100 * after.share_since(before),
        rss_mib=window.program.memory_info().rss / 2**20,
        age_s=quantiles(ages_s),
        bytes_per_s=(relay.bytes_to_client - received) / took_s,
        screen_bytes_per_s=sum(size for at_s, size in writes if at_s <= ended_s) / took_s,
        pictures=len(ages_s),
        keys=len(pressed),
        starved_pct=100 * after.starved_since(before),
        scheduler_starved_pct=100 * of_scheduler_after.starved_since(of_scheduler),
        busy_cores=psutil.cpu_percent() / 100 * (psutil.cpu_count() or 1),
    )


def _key_ms(pressed: Sequence[float], writes: Sequence[tuple[float, int]]) -> list[float]:
    """Until what followed a key was written; what a picture wrote at the same time included."""
    took_ms = []
    for at_s in pressed:
        ended_s = burst_end(writes, at_s, GAP_S)
        if ended_s is None:
            raise RuntimeError("the terminal wrote nothing after a key")
        took_ms.append(1e3 * (ended_s - at_s))
    return took_ms


def _ages_s(notes: Sequence[Note]) -> list[float]:
    """Of the picture on screen when the next one replaces it."""
    shown = [note for note in notes if note.what == SHOWN]
    return [later.at_s - one.made_s for one, later in pairwise(shown)]


def _first_paint_ms(notes: Sequence[Note], writes: Sequence[tuple[float, int]]) -> float:
    arrived = next(note for note in notes if note.what == ARRIVED)
    shown = next(note for note in notes if note.what == SHOWN)
    ended_s = burst_end(writes, arrived.at_s, GAP_S)
    return 1e3 * (max(shown.at_s, ended_s or 0.0) - arrived.at_s)
