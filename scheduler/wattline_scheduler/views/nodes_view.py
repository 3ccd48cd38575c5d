"""Views of nodes and their GPUs."""

from collections.abc import Iterator

from wattline_protocol.ids import GpuIndex, Now, UnixTime
from wattline_protocol.job.spec import WHOLE_GPU
from wattline_protocol.site.out_of_band import OutOfBand
from wattline_protocol.views.host_view import HostView, ProcessView
from wattline_protocol.views.part_view import PartView
from wattline_protocol.views.site_views import GpuView, NodeView, OutOfBandView
from wattline_protocol.wire.agent_messages import Beat, GpuInfo, GpuSample
from wattline_protocol.wire.mig import MigView
from wattline_scheduler.core.admission.reservations import reserved_text
from wattline_scheduler.core.leases.lease_load import floor_of
from wattline_scheduler.core.leases.measured_draw import Draw, node_draw
from wattline_scheduler.core.model.devices import cordoned, withheld
from wattline_scheduler.core.model.node import NodeNow
from wattline_scheduler.core.model.queue.remaining_time import empty_within_s
from wattline_scheduler.core.model.state import State

MW = 1000
"""Milliwatts per watt: views are in watts, the books in milliwatts."""


def node_view(
    state: State, node: NodeNow, now: Now, draw: Draw | None = None, *, with_gpus: bool = True
) -> NodeView:
    """The current view of one node. `draw`: result of `node_draw`, if the caller already has it."""
    committed_mw = state.books.committed_mw(node.id)
    lease_mw = state.books.newest_lease_mw(node.id)
    beat = node.beat if node.is_reachable else None
    drawn = draw or node_draw(node, committed_mw)
    floor_mw = floor_of(node) if node.gpus else committed_mw
    return NodeView(
        id=node.id,
        rack=node.site.rack,
        state=node.state,
        reason=node.reason,
        lease_w=(committed_mw if lease_mw is None else lease_mw) / MW,
        committed_w=committed_mw / MW,
        measured_w=drawn.mw / MW if drawn.is_measured else None,
        estimated_w=drawn.mw / MW,
        floor_w=floor_mw / MW,
        inlet_c=None if beat is None else beat.inlet_c,
        cpu_pct=0.0 if beat is None else beat.cpu_pct,
        heard_ago_s=None if node.heard_at is None else now.mono_s - node.heard_at,
        simulated=node.record.is_simulated,
        problems=_problems(node, beat, is_contradicted=node.id in state.contradicted),
        gpus=gpu_views(state, node, beat) if with_gpus else (),
        tasks=tuple(
            f"{ref} {attempt.gang.job.spec.name}" for ref, attempt in sorted(node.attempts.items())
        ),
        inputs=node.site.inputs,
        cooling_zone=node.site.cooling_zone,
        out_of_band=_out_of_band(node.site.out_of_band),
        drained_unix_s=node.record.drained_unix_s,
        empty_by_unix_s=_empty_by(node, now),
        labels=node.site.labels,
        reserved=reserved_text(state, node.id, now),
        gpu_count=len(node.gpus),
        gpus_busy=sum(bool(node.jobs_on(index)) for index in node.gpus),
        gpus_cordoned=sum(not node.jobs_on(index) for index in cordoned(node)),
        gpus_unavailable=len(_unavailable(node)),
        cordons=node.record.cordons,
        gpu_models=tuple(sorted({gpu.name for gpu in node.gpus.values()})),
    )


def host_view(node: NodeNow) -> HostView | None:
    """Its host as last reported; None: it does not report."""
    beat = node.beat if node.is_reachable else None
    if beat is None:
        return None
    known = node.record
    of_host = (known.cpus, beat.cpu_pct, known.memory_bytes, beat.memory_used_bytes)
    return HostView(*of_host, beat.host, tuple(_processes(node)))


def _processes(node: NodeNow) -> Iterator[ProcessView]:
    """In the order of jobs and tasks."""
    for ref, attempt in sorted(node.attempts.items()):
        job, report = attempt.gang.job, attempt.report
        yield ProcessView(
            job=job.id,
            task=str(ref),
            name=job.spec.name,
            user=job.record.owner,
            gpus=attempt.record.gpus,
            pid=None if report is None else report.pid,
        )


def _migs(node: NodeNow, gpu: GpuInfo) -> tuple[MigView, ...] | None:
    if gpu.mig is None:
        return None
    job_on = {
        one.record.mig.uuid: one.gang.job.id
        for one in node.holders.get(gpu.index, ())
        if one.record.mig is not None
    }
    return tuple(
        MigView(one.uuid, one.profile, one.memory_bytes, job_on.get(one.uuid)) for one in gpu.mig
    )


def _parts(node: NodeNow, gpu: GpuInfo) -> tuple[PartView, ...]:
    held = [(one.gang.job.id, one.gpu_milli) for one in node.holders.get(gpu.index, ())]
    if gpu.mig is not None or not any(milli < WHOLE_GPU for _, milli in held):
        return ()
    return tuple(PartView(job, milli) for job, milli in held)


def _empty_by(node: NodeNow, now: Now) -> UnixTime | None:
    left_s = empty_within_s(node, now) if node.record.is_draining and node.attempts else None
    return None if left_s is None else UnixTime(now.unix_s + left_s)


def _out_of_band(declared: OutOfBand | None) -> OutOfBandView:
    if declared is None:
        return "none"
    if not declared.can_switch_off:
        return "status"
    return "automatic" if declared.is_automatic else "off"


def _problems(node: NodeNow, beat: Beat | None, *, is_contradicted: bool) -> tuple[str, ...]:
    reported = () if beat is None else beat.problems
    own = ["its reports contradict the books: it counts in full"] if is_contradicted else []
    divided = ((gpu, why) for gpu, why in withheld(node).items() if gpu not in node.foreign)
    own += [f"GPU {gpu} {why}" for gpu, why in divided]
    return (*own, *reported)


def _is_healthy(node: NodeNow, gpu: GpuInfo) -> bool:
    return gpu.healthy and gpu.index not in node.lost


def _unavailable(node: NodeNow) -> list[GpuIndex]:
    """GPUs that are neither allocated nor cordoned, and that are offered to no job."""
    unfit = {gpu.index for gpu in node.gpus.values() if not _is_healthy(node, gpu)}
    return [
        gpu for gpu in (unfit | withheld(node).keys()) - cordoned(node) if not node.jobs_on(gpu)
    ]


def gpu_views(state: State, node: NodeNow, beat: Beat | None) -> tuple[GpuView, ...]:
    """All GPUs by index; a GPU without a fresh sample shows its static attributes only."""
    reported = () if beat is None else beat.gpus
    samples = {sample.index: sample for sample in reported if not sample.lost}
    ordered = sorted(node.gpus.values(), key=lambda gpu: gpu.index)
    return tuple(_gpu_view(state, node, gpu, samples.get(gpu.index)) for gpu in ordered)


_UNKNOWN = GpuSample(index=GpuIndex(-1), power_mw=None, cap_mw=None)
"""Placeholder for a missing sample; its index is not read."""


def _gpu_view(state: State, node: NodeNow, gpu: GpuInfo, sample: GpuSample | None) -> GpuView:
    jobs = node.jobs_on(gpu.index)
    s = sample or _UNKNOWN
    return GpuView(
        index=gpu.index,
        name=gpu.name,
        power_w=None if s.power_mw is None else s.power_mw / MW,
        cap_w=None if s.cap_mw is None else s.cap_mw / MW,
        cap_min_w=gpu.cap_min_mw / MW,
        cap_max_w=gpu.cap_max_mw / MW,
        temp_c=s.temp_c,
        util_pct=s.util_pct,
        sm_clock_mhz=s.sm_clock_mhz,
        memory_used_bytes=s.memory_used_bytes,
        memory_bytes=gpu.memory_bytes,
        reasons=s.reasons,
        is_idle=gpu.index in node.idle,
        can_cap=gpu.can_cap,
        healthy=_is_healthy(node, gpu),
        job=jobs[0] if jobs else None,
        others=jobs[1:],
        mig=_migs(node, gpu),
        parts=_parts(node, gpu),
        is_cordoned=gpu.index in cordoned(node),
        foreign=s.foreign,
        temp_limit_c=gpu.temp_limit_c,
        locked_mhz=s.locked_mhz,
        c_per_w=state.thermal.c_per_w(node.id, gpu.index),
    )
