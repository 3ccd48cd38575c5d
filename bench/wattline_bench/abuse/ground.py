"""The site that is attacked: a real scheduler with a long record, a real agent and many played
ones, a gateway where one is needed, and honest members who go about their work."""

import multiprocessing
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import psutil

from wattline.client.errors import WattlineError
from wattline.demo.processes import adopt_orphans
from wattline_bench.abuse.attack import Attack, Target
from wattline_bench.abuse.honest import Samples, send_http, submit_jobs
from wattline_bench.abuse.row import CALM, Row, http_bound, in_ms
from wattline_bench.leases import Fleets
from wattline_bench.rig.data_history import fill_data
from wattline_bench.rig.history import fill
from wattline_bench.rig.hosts import HostSite
from wattline_bench.rig.site import rack_site
from wattline_bench.serving.gateway import Stack, stack, wait_until_ready
from wattline_protocol.data.site_data import SiteData
from wattline_protocol.ids import JobId, UserName
from wattline_protocol.job.selection import Selection
from wattline_protocol.trust.keys import JoinBundle
from wattline_protocol.views.load_views import MAX_LOAD_S, Load

UNANSWERED_S = 10.0
"""A program that answers nothing for so long counts as ended."""
SETTLE_S = 3.0
"""Before an attack begins, if attacks last as long: what one leaves behind shall not count for the
next."""
PATIENCE_S = 60.0
ATTACKER = "attacker"
STORE = "/srv/data"
"""Nothing is there: the bytes of data sets never pass the scheduler."""

SPAWN = multiprocessing.get_context("spawn")


class Member:
    """A process that honest members or attackers run in, and the pipe to it."""

    def __init__(self, run: Any, *arguments: object) -> None:
        here, there = SPAWN.Pipe()
        self._pipe: Connection = here
        self._process = SPAWN.Process(target=run, args=(*arguments, there), daemon=True)
        self._process.start()
        there.close()
        self._hear("be ready")

    def go(self, until_s: float) -> None:
        """Begin, until then."""
        self._pipe.send(until_s)

    def result(self) -> Any:
        """What it found. Raises RuntimeError when it ended or has no end."""
        return self._hear("come to an end")

    def _hear(self, what: str) -> Any:
        if not self._pipe.poll(PATIENCE_S):
            raise RuntimeError(f"a process of the benchmark did not {what} in {PATIENCE_S:g} s")
        heard = self._pipe.recv()
        if isinstance(heard, Exception):
            raise RuntimeError(f"a process of the benchmark failed: {heard!r}") from heard
        return heard

    def end(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.join()
        self._pipe.close()


def attack_once(attack: Attack, target: Target, pipe: Connection) -> None:
    """An attacker's process: ready, go, and how often it tried."""
    pipe.send("ready")
    try:
        pipe.send(attack.run(target, pipe.recv()))
    except Exception as error:  # the benchmark says so and fails
        pipe.send(error)


class Ground:
    """Everything that runs, and what is known of it before an attack."""

    def __init__(self, site: HostSite, members: dict[str, Member], target: Target) -> None:
        self._site, self._members, self._target = site, members, target
        self.watched: dict[str, psutil.Process] = {"scheduler": site.live.program}
        """Programs that must not end, by name."""
        self.watched |= {f"agent {pid}": psutil.Process(pid) for pid in site.agents}

    def watch(self, name: str, pid: int) -> None:
        """One more process that must not end."""
        self.watched[name] = psutil.Process(pid)

    def attacked(self, attack: Attack | None, seconds: float, calm: Row | None) -> Row:
        """One row: with an attack, or calm. `calm`: what it is compared with."""
        time.sleep(min(SETTLE_S, seconds))
        newest = self._newest_event()
        attacker = None if attack is None else Member(attack_once, attack, self._target)
        began_s = time.monotonic()
        until_s = began_s + seconds
        running = [*self._members.values(), *([attacker] if attacker else [])]
        for member in running:
            member.go(until_s)
        found: dict[str, Samples] = {name: m.result() for name, m in self._members.items()}
        tried = 0
        if attacker is not None:
            tried = int(attacker.result())
            attacker.end()
        load = self._load(time.monotonic() - began_s + 1.0)
        row = self._row(attack, tried, found, load, newest, calm)
        self._cancel_attackers_jobs()
        return row

    def _row(
        self,
        attack: Attack | None,
        tried: int,
        found: dict[str, Samples],
        load: Load | None,
        newest: int,
        calm: Row | None,
    ) -> Row:
        return Row(
            what=CALM if attack is None else attack.name,
            tried=tried,
            ended=self._ended(found),
            silent_nodes=self._silent_since(newest),
            others_submits=len(found["submit"]),
            others_submit_ms=in_ms(found["submit"]),
            others_http_ms=in_ms(found.get("http", [])),
            http_p99_ms_max=http_bound(calm),
            worst_step_ms=None if load is None else round(1e3 * load.worst_step_s, 1),
            worst_step_cpu_ms=None if load is None else round(1e3 * load.worst_step_cpu_s, 1),
        )

    def _cancel_attackers_jobs(self) -> None:
        """The next attack is compared with a site that has none of them."""
        with suppress(WattlineError):  # no scheduler answers: the row says so
            self._site.client.cancel(Selection(users=(ATTACKER,)))

    def _ended(self, found: dict[str, Samples]) -> int:
        """Processes that are gone, and programs that left an honest member without an answer."""
        gone = sum(not is_running(program) for program in self.watched.values())
        mute = sum(max(samples, default=UNANSWERED_S) >= UNANSWERED_S for samples in found.values())
        return max(gone, mute)

    def _load(self, seconds: float) -> Load | None:
        try:
            return self._site.client.load(min(round(seconds), MAX_LOAD_S))
        except WattlineError:
            return None

    def _newest_event(self) -> int:
        return max((event.seq for event in self._site.client.events(newest=1)), default=0)

    def _silent_since(self, event: int) -> int:
        try:
            since = list(self._site.client.events(after=event, newest=10_000))
        except WattlineError:
            return 0
        attackers = self._target.agent.name
        return sum(each.kind == "node_silent" and each.node != attackers for each in since)


def is_running(program: psutil.Process) -> bool:
    """Whether it has not ended, reaped or not."""
    return bool(program.is_running() and program.status() != psutil.STATUS_ZOMBIE)


@contextmanager
def ground(nodes: int, jobs: int, *, with_gateway: bool) -> Iterator[Ground]:
    """A site of so many nodes, the last of which is the attacker's, with so many ended jobs, and
    with data sets of the attacker's."""
    adopt_orphans()
    with ExitStack() as until_over:
        folder = Path(until_over.enter_context(TemporaryDirectory(prefix="wattline-bench-")))
        fill(folder / "state", jobs, 0)
        fill_data(folder / "state", UserName(ATTACKER), STORE)
        racks = msgspec.structs.replace(rack_site(nodes), data=SiteData(store=STORE))
        site = HostSite(folder, site=racks)
        until_over.callback(site.close)
        honest = site.live.enroll("honest", "submitter")
        site.start_nodes(1)
        fleet = Fleets(site.live.agents[1:-1], 1)
        until_over.callback(fleet.end)
        gateway = (
            until_over.enter_context(stack(gateway_args=("--abuse",))) if with_gateway else None
        )
        members = _members(honest, gateway)
        for member in members.values():
            until_over.callback(member.end)
        url = None if gateway is None else str(gateway.endpoints["http_url"])
        target = Target(
            submitter=site.live.enroll(ATTACKER, "submitter"),
            agent=site.live.agents[-1],
            operator=site.live.enroll("rogue", "operator"),
            domains=tuple(domain.id for domain in racks.domains),
            nodes=tuple(node.id for node in racks.nodes[:-1]),
            others_job=JobId(jobs),
            http_url=url,
        )
        made = Ground(site, members, target)
        if gateway is not None:
            made.watch("gateway", gateway.gateway.pid)
        yield made


def _members(honest: JoinBundle, gateway: Stack | None) -> dict[str, Member]:
    members = {"submit": Member(submit_jobs, honest)}
    if gateway is not None:
        wait_until_ready(gateway)
        members["http"] = Member(send_http, gateway.endpoints["http_url"])
    return members
