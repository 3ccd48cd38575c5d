"""Rules of a reference machine for reservations: made, taken back, jobs sent in.

A part of `tests/property/test_core_machine.py`.
"""

from random import Random

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from support.core.lossy import LossyHarness
from support.core.reserved import may_start, span_of
from wattline_protocol.ids import TaskRef, UserName
from wattline_protocol.job.selection import only
from wattline_protocol.wire.client_messages import Request, Update
from wattline_protocol.wire.reservations import Reserve, Unreserve
from wattline_scheduler.core.model.events import ClientRequest
from wattline_scheduler.plan.model.reserved_nodes import Stay
from wattline_scheduler.records import AttemptRecord, Record, ReservationRecord

NODES = ("a1", "a2", "b1")
"""Of `LossyHarness`."""

nodes = st.sampled_from(NODES)
choices = st.integers(0, 1_000)


class ReservingRules(RuleBasedStateMachine):
    """A cluster whose operators reserve nodes; each start is held against what is on disk."""

    def __init__(self) -> None:
        super().__init__()
        self.h = LossyHarness()
        self.h.on_save = self.is_saved
        self.asks = 0
        self.tried: set[TaskRef] = set()
        self.reserved: dict[str, ReservationRecord] = {}
        """Those on disk that are not over."""

    def ask(self, request: Request) -> None:
        self.asks += 1
        self.h.handle(ClientRequest(b"c", self.asks, UserName("ops"), "admin", request))

    def is_saved(self, record: Record) -> None:
        """Nobody outside starts on a reserved node, nor before it is reserved but for who will have
        ended."""
        if isinstance(record, ReservationRecord):
            self.reserved.pop(record.name, None)
            if record.phase != "over":
                self.reserved[record.name] = record
        elif isinstance(record, AttemptRecord) and record.ref not in self.tried:
            self.tried.add(record.ref)
            queue, of = self.h.cluster.state.work.queue, self.h.job(record.job)
            stay, at = Stay(of.spec.reservation, queue.runs_s(queue.key(of))), record.placed_unix_s
            spans = [
                span_of(r.name, r.start_unix_s, r.end_unix_s, list(map(NODES.index, r.nodes)))
                for r in self.reserved.values()
            ]
            may = may_start(spans, NODES.index(record.node), stay, at)
            assert may, f"{record.ref} starts on {record.node} at {at} beside {self.reserved}"

    @rule(
        node=st.none() | nodes,
        count=st.integers(1, 3),
        whom=st.sampled_from(["user", "user", "account", "nobody"]),
        later_s=st.sampled_from([0, 0, 3, 15]),
        for_s=st.sampled_from([4.0, 15.0, 60.0]),
    )
    def reserve(self, node: str | None, count: int, whom: str, later_s: int, for_s: float) -> None:
        """One node by name, or so many as are free soonest."""
        request = Reserve(
            f"r{self.asks}",
            start=f"in {later_s}s" if later_s else "",
            for_s=for_s,
            nodes=() if node is None else (node,),
            count=count if node is None else 0,
            users=("ops",) if whom == "user" else (),
            accounts=("lab",) if whom == "account" else (),
            is_maintenance=whom == "nobody",
        )
        self.ask(request)

    @precondition(lambda self: bool(self.reserved))
    @rule(at=choices)
    def unreserve(self, at: int) -> None:
        self.ask(Unreserve(self.some_reservation(at)))

    @precondition(lambda self: bool(self.reserved))
    @rule(at=choices, into=st.booleans())
    def send_inside(self, at: int, into: bool) -> None:
        """A job, or out again."""
        jobs = list(self.h.cluster.state.work.jobs)
        if jobs:
            name = self.some_reservation(at) if into else "none"
            self.ask(Update(only(jobs[at % len(jobs)]), {"reservation": name}))

    def reserve_nothing(self) -> None:
        """All nodes are for everybody, and no job wants into what is over."""
        for name in list(self.reserved):
            self.ask(Unreserve(name))
        for number in list(self.h.cluster.state.work.jobs):
            self.ask(Update(only(number), {"reservation": "none"}))

    def some_reservation(self, at: int) -> str:
        return sorted(self.reserved)[at % len(self.reserved)]


def reserve_any(m: ReservingRules, r: Random) -> None:
    m.reserve(
        node=r.choice((None, *NODES)),
        count=r.randint(1, 3),
        whom=r.choice(("user", "user", "account", "nobody")),
        later_s=r.choice((0, 0, 3, 15)),
        for_s=r.choice((4.0, 15.0, 60.0)),
    )
