"""What is really so, checked against what the scheduler has promised.

The books on the scheduler's disk must cover, at every instant, what every host can draw under the
limits its driver really enforces; the domains' true draw must stay within what is committed; and
no task may run in two attempts at once. None of this uses anything an agent reported.
"""

from collections.abc import Iterable, Mapping

from wattline_protocol.ids import DomainId, JobId, NodeId, TaskNo, TaskRef
from wattline_protocol.site import Site
from wattline_protocol.wall import wall_mw
from wattline_scheduler.core.records import BookRecord
from wattline_scheduler.power.books import Books
from wattline_scheduler.power.domains import Domains
from wattline_sim.fleet.machine import Machine


class Overdraw(AssertionError):
    """Something was drawn, or could have been, that nobody had granted."""


class RunTwice(AssertionError):
    """Two attempts of one task ran at the same time, or one attempt was started twice."""


class Truth:
    """Checks the hosts against the books on disk."""

    def __init__(self, site: Site, machines: Mapping[NodeId, Machine]) -> None:
        self._site = site
        self._domains = Domains(site)
        self._machines = machines
        self.checks = 0

    def check(self, books_on_disk: Iterable[BookRecord]) -> None:
        """Raise if a node could draw more than is committed for it."""
        self.checks += 1
        books = Books(self._site, self._domains, tuple(books_on_disk))
        for node in self._site.nodes:
            could_mw = self.could_draw_mw(node.id)
            committed_mw = books.committed_mw(node.id)
            if could_mw > committed_mw:
                raise Overdraw(
                    f"{node.id} could draw {could_mw / 1e6:.3f} kW, "
                    f"committed are {committed_mw / 1e6:.3f} kW: {books.entry(node.id)}"
                )
        self._check_processes()

    def could_draw_mw(self, node: NodeId) -> int:
        """Most the host can draw at the wall under the limits in force, by what runs on it."""
        machine = self._machines[node]
        if not machine.is_up:
            return 0
        at = next(n for n in self._site.nodes if n.id == node)
        gpus_mw = sum(machine.allowed_mw(gpu) for gpu in machine.gpus.values())
        return wall_mw(at.non_gpu_worst_mw + gpus_mw, at.psu_efficiency_permille)

    def drawn_mw(self, domain: DomainId) -> int:
        """What the hosts of a domain really draw at the wall."""
        total = 0
        for node in self._domains.members[domain]:
            machine = self._machines[node]
            if machine.is_up:
                at = next(n for n in self._site.nodes if n.id == node)
                gpus_mw = sum(machine.draw_mw(gpu) for gpu in machine.gpus.values())
                total += wall_mw(at.non_gpu_worst_mw + gpus_mw, at.psu_efficiency_permille)
        return total

    def _check_processes(self) -> None:
        living: dict[tuple[JobId, TaskNo], TaskRef] = {}
        for machine in self._machines.values():
            for ref, process in machine.processes.items():
                if process.exit is None:
                    other = living.setdefault((ref.job, ref.task), ref)
                    if other != ref:
                        raise RunTwice(f"{other} and {ref} run at the same time")

    def check_starts(self) -> None:
        """Raise if any attempt was ever started twice, anywhere."""
        seen: set[TaskRef] = set()
        for machine in self._machines.values():
            for ref, _ in machine.starts:
                if ref in seen:
                    raise RunTwice(f"{ref} was started twice")
                seen.add(ref)
