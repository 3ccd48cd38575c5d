"""What is really so, checked against what the scheduler has promised.

The books on the scheduler's disk must cover, at every instant, what every host can draw under the
limits its driver really enforces; they must never grow beyond what the site file allows; and no
task may run in two attempts at once. None of this uses anything an agent reported, nor the
scheduler's own arithmetic.
"""

from collections.abc import Callable, Collection, Iterable, Mapping

from wattline_protocol.ids import DomainId, GpuIndex, JobId, NodeId, TaskNo, TaskRef
from wattline_protocol.job.spec import WHOLE_GPU, JobSpec
from wattline_protocol.site.model import Domain, Node, Site
from wattline_protocol.site.wall_power import PERMILLE, wall_mw
from wattline_protocol.views.site_views import JobState
from wattline_scheduler.records import BookRecord, JobRecord
from wattline_sim.fleet.hardware import Gpu
from wattline_sim.fleet.machine import Machine

Books = Mapping[NodeId, BookRecord]

MOST_NAMEPLATES = 2


class Overdraw(AssertionError):
    """Something was drawn, or could have been, that nobody had granted."""


class Overgranted(AssertionError):
    """The books on disk grant more below a domain than its budget."""


class Overcounted(AssertionError):
    """One agent's word made its node count more than any host of its kind can draw."""


class GivenTwice(AssertionError):
    """Tasks that run at the same time were given more of a GPU than there is, or one MIG device."""


class GivenOther(AssertionError):
    """A task was given a GPU in MIG mode itself, or a MIG device of which its job did not ask."""


class RunTwice(AssertionError):
    """Two attempts of one task ran at the same time, or one attempt was started twice."""


class StartedEarly(AssertionError):
    """A task started though its job is on no disk, or one that it waits for never ended so."""


class NumberedTwice(AssertionError):
    """A job has the number of another one, whose checkpoints it would take for its own."""


class Truth:
    """Checks the hosts against the books on disk."""

    def __init__(self, site: Site, machines: Mapping[NodeId, Machine]) -> None:
        self._nodes = {node.id: node for node in site.nodes}
        self._machines = machines
        self._rows = _rows(site)
        self.excused: Callable[[NodeId], Collection[GpuIndex]] = lambda _: ()
        """GPUs of a node of which the books need not know yet that others have raised a limit."""
        self.is_trusted: Callable[[NodeId], bool] = lambda _: True
        """Whether the books of a node rest on no lie of its agent."""
        self.liars: Collection[NodeId] = ()
        """Nodes whose agents ever lied: what they still run is theirs."""
        self._started: set[TaskRef] = set()
        self._jobs: dict[JobId, JobSpec] = {}
        self._ended: dict[JobId, set[JobState]] = {}
        """How each job was ever on record as ended, also before a backup was put back."""
        self.checks = 0
        self.is_reserve: Callable[[Gpu], bool] = lambda _: False
        """Whether a reserve covers what a foreign process draws on the GPU."""
        self.check_given: Callable[[Machine, Gpu], None] = lambda _, __: None
        """Raises if a GPU must not be given to a task now."""
        for machine in machines.values():
            machine.on_launch = self.check_start

    # --- watts --------------------------------------------------------------------------

    def check(self, books: Books, only: NodeId | None = None) -> None:
        """Raise if a node could draw more than is committed for it. `only`: nothing changed but
        this node.
        """
        self.checks += 1
        for node in self._nodes.values() if only is None else (self._nodes[only],):
            if self.is_covered(node.id, books):
                continue
            could_mw = self.could_draw_mw(node.id, self.excused(node.id))
            committed_mw = _committed_mw(node, books)
            if could_mw > committed_mw and self.is_trusted(node.id):
                raise Overdraw(
                    f"{node.id} could draw {could_mw / 1e6:.3f} kW, "
                    f"committed are {committed_mw / 1e6:.3f} kW: {books.get(node.id)}"
                )

    def is_covered(self, node: NodeId, books: Books) -> bool:
        """Whether the books have what the host can draw, raised limits included."""
        return self.could_draw_mw(node) <= _committed_mw(self._nodes[node], books)

    def could_draw_mw(self, node: NodeId, excused: Collection[GpuIndex] = ()) -> int:
        """Most the host can draw at the wall under the limits in force, by what runs on it."""
        machine, at = self._machines[node], self._nodes[node]
        if not machine.is_up:
            return 0
        gpus_mw = machine.allowed_mw(self.is_reserve, excused)
        return wall_mw(at.non_gpu_worst_mw + gpus_mw, at.psu_efficiency_permille)

    def booked(self, books: Books, entries: Iterable[BookRecord]) -> None:
        """Raise if one of the entries, which turned `books` into what is on disk now one after the
        other, grants a growth that a domain has no room for (I1, I9).

        What raises a node without a grant may exceed a budget: distrust, a host that is heard
        though declared off, limits that were read back.
        """
        state = dict(books)
        for entry in entries:
            node = self._nodes[entry.node]
            before_mw = _committed_mw(node, state)
            state[entry.node] = entry
            if _committed_mw(node, state) > MOST_NAMEPLATES * node.nameplate_mw:
                raise Overcounted(f"{entry}, its nameplate is {node.nameplate_mw} mW")
            most_sent_mw = max((sent.lease_mw for sent in entry.sent), default=0)
            if entry.standing == "leased" and most_sent_mw > before_mw:
                self._check_room(state, entry.node)

    def _check_room(self, books: Books, grown: NodeId) -> None:
        for domain, shares in self._rows:
            if grown in shares:
                given_mw = sum(
                    _committed_mw(self._nodes[node], books) * share // PERMILLE
                    for node, share in shares.items()
                )
                if given_mw > _usable_mw(domain):
                    raise Overgranted(
                        f"{domain.id} may give {_usable_mw(domain)} mW, the books on disk give "
                        f"{given_mw} mW after a growth of {grown}"
                    )

    # --- tasks --------------------------------------------------------------------------

    def check_start(self, ref: TaskRef) -> None:
        """Raise if an attempt starts twice, beside another of its task, or on what others have."""
        if ref in self._started:
            raise RunTwice(f"{ref} was started twice")
        self._started.add(ref)
        self._check_parents(ref.job)
        self._check_profile(ref)
        living: dict[tuple[JobId, TaskNo], TaskRef] = {(ref.job, ref.task): ref}
        for name, machine in self._machines.items():
            if name in self.liars:
                continue
            self._check_given(machine, ref)
            if ref in machine.processes:
                for index in machine.processes[ref].order.gpus:
                    self.check_given(machine, machine.gpus[index])
            for other, process in machine.processes.items():
                if process.exit is None and living.get((other.job, other.task), other) != other:
                    raise RunTwice(f"{other} and {ref} run at the same time")

    def _check_profile(self, ref: TaskRef) -> None:
        """Of what it was given; a MIG device that its operator has just taken away has none."""
        asked = self._jobs[ref.job].resources.mig
        for machine in self._machines.values():
            profile = machine.profile_of(ref)
            if profile is not None and profile != asked:
                raise GivenOther(f"{ref} was given {profile or 'GPUs'}, it asked for {asked!r}")

    def _check_given(self, machine: Machine, ref: TaskRef) -> None:
        for index, permille in machine.given().items():
            at, gpu = f"GPU {index} of {machine.node} after {ref}", machine.gpus[index]
            if permille > WHOLE_GPU:
                raise GivenTwice(f"{permille} thousandths of {at}")
            devices = machine.devices_in_use(gpu)
            if len(set(devices)) < len(devices):
                raise GivenTwice(f"MIG devices {sorted(devices)} of {at}")
            if gpu.mig is not None and machine.undivided(gpu):
                raise GivenOther(f"{machine.undivided(gpu)} were given {at}, which is in MIG mode")

    def saw_job(self, record: JobRecord) -> None:
        """What is on disk of a job."""
        self._jobs[record.id] = record.spec
        if record.ended_unix_s is not None:
            self._ended.setdefault(record.id, set()).add(record.state)

    def _check_parents(self, job: JobId) -> None:
        spec = self._jobs.get(job)
        if spec is None:
            raise StartedEarly(f"job {job} starts and never was on record")
        for parent in spec.parents:
            ends = self._ended.get(parent, set())
            if not ends or (parent in spec.after_ok and "COMPLETED" not in ends):
                raise StartedEarly(f"job {job} starts, and job {parent} ended {sorted(ends)}")


def _committed_mw(node: Node, books: Books) -> int:
    """Most a node may be acting on (I1): its newest acknowledged lease and all sent after it."""
    entry = books.get(node.id)
    if entry is None:
        return 0 if node.is_off else node.nameplate_mw
    if entry.standing == "off":
        return 0
    leased_mw = max(entry.acked_mw, *(sent.lease_mw for sent in entry.sent), 0)
    return leased_mw if entry.standing == "leased" else max(node.nameplate_mw, leased_mw)


def _usable_mw(domain: Domain) -> int:
    reserved_mw = domain.fixed_load_mw + domain.transient_margin_mw + domain.foreign_reserve_mw
    return domain.budget_mw - reserved_mw


Row = tuple[Domain, Mapping[NodeId, int]]
"""A domain, and how many permille of each node's wall watts count there in one case."""


def _rows(site: Site) -> list[Row]:
    """Every domain in normal operation and after the loss of any one domain (I1)."""
    above = {domain.id: _above(site, domain.id) for domain in site.domains}
    rows: list[Row] = []
    for domain in site.domains:
        for lost in (None, *above):
            shares = {node.id: _share(site, node, domain, lost, above) for node in site.nodes}
            row = (domain, {node: share for node, share in shares.items() if share})
            if row not in rows:
                rows.append(row)
    return rows


def _above(site: Site, domain: DomainId) -> frozenset[DomainId]:
    by_id, chain, at = {d.id: d for d in site.domains}, [domain], domain
    while (parent := by_id[at].parent) is not None:
        chain.append(parent)
        at = parent
    return frozenset(chain)


def _share(
    site: Site,
    node: Node,
    domain: Domain,
    lost: DomainId | None,
    above: Mapping[DomainId, frozenset[DomainId]],
) -> int:
    if not node.shares or domain.kind == "cooling":
        return PERMILLE if domain.id in site.domains_of(node) else 0
    gone = [at for at in node.inputs if lost in above[at]]
    carried = 0
    for at, share in zip(node.inputs, node.shares, strict=True):
        if at not in gone and domain.id in above[at]:
            carried += share.after(lost, gone) if lost and gone else share.share_permille
    return carried
