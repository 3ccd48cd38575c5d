"""View of reservations."""

from wattline_protocol.ids import NodeId, Now
from wattline_protocol.job.spec import WHOLE_GPU
from wattline_protocol.wire.reservations import ReservationView
from wattline_scheduler.core.admission.reservations import by_part, is_active
from wattline_scheduler.core.model.devices import cordoned
from wattline_scheduler.core.model.state import State
from wattline_scheduler.records import ReservationRecord


def reservation_views(state: State, now: Now) -> tuple[ReservationView, ...]:
    """Reservations that have not ended, by start time."""
    live = [one for one in state.reservations.values() if one.end_unix_s > now.unix_s]
    live.sort(key=lambda one: (one.start_unix_s, one.name))
    return tuple(_view(state, record, now) for record in live)


def _view(state: State, record: ReservationRecord, now: Now) -> ReservationView:
    inside, others = by_part(state, record)
    gpus = [_gpus(state, node) for node in record.nodes]
    at = state.calendar.text
    return ReservationView(
        name=record.name,
        state="active" if is_active(record, now) else "planned",
        start_unix_s=record.start_unix_s,
        end_unix_s=record.end_unix_s,
        start=at(record.start_unix_s),
        end=at(record.end_unix_s),
        accounts=record.accounts,
        users=record.users,
        nodes=record.nodes,
        gpus=sum(count for count, _ in gpus),
        gpus_free=sum(free for _, free in gpus),
        jobs=inside,
        others=others,
        requester=record.requester,
        why=record.why,
    )


def _gpus(state: State, name: NodeId) -> tuple[int, int]:
    """Number of managed GPUs of a node and of free ones; none is free unless the node is up."""
    node = state.nodes.get(name)
    if node is None:
        return 0, 0
    managed = [gpu for gpu in node.gpus.values() if gpu.managed]
    if node.state != "ok":
        return len(managed), 0
    shut = node.lost | cordoned(node)
    healthy = [gpu for gpu in managed if gpu.healthy and gpu.index not in shut]
    return len(managed), sum(node.free_milli(gpu.index) for gpu in healthy) // WHOLE_GPU
