"""View of a service's rollout."""

from wattline_protocol.ids import JobId, Now
from wattline_protocol.wire.client_messages import Denied
from wattline_protocol.wire.rollouts import RevisionView, RolloutNow, RolloutView
from wattline_scheduler.core.model.not_found import not_there
from wattline_scheduler.core.model.service_traffic import Tally
from wattline_scheduler.core.model.state import State
from wattline_scheduler.core.rollout.gateway_reports import ready_workers


def rollout_view(state: State, service: str, now: Now) -> RolloutNow | Denied:
    """The newest rollout of a service."""
    rollout = state.rollouts.get(service)
    if rollout is None:
        return not_there("rollout of service", service, state.rollouts)
    record = rollout.record

    def side(job: JobId, replicas: int, allowed: int, tally: Tally) -> RevisionView:
        p95_s = tally.p95_s
        return RevisionView(
            job=job,
            replicas=replicas,
            allowed=allowed,
            ready=ready_workers(state, service, job, now),
            requests=tally.requests,
            errors=tally.errors,
            p95_ms=None if p95_s is None else round(p95_s * 1000, 3),
        )

    view = RolloutView(
        service=service,
        phase=record.phase,
        text=rollout.text if record.is_open else record.reason,
        is_paused=record.is_open and rollout.is_paused,
        new=side(record.new, record.new_replicas, record.new_allowed, rollout.new),
        old=side(record.old, record.old_replicas, record.old_allowed, rollout.old),
        canary=record.canary_permille / 1000,
        shadow=record.shadow_permille / 1000,
        compare=record.compare,
        equal=record.equal + rollout.equal,
        different=record.different + rollout.different,
        requester=record.requester,
        since_unix_s=record.since_unix_s,
        uncompared=record.uncompared + rollout.uncompared,
    )
    return RolloutNow(view)
