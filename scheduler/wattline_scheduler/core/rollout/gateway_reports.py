"""What gateways report about the revisions of services: ready workers, and traffic."""

from wattline_protocol.ids import Instant, JobId, Now
from wattline_protocol.wire.rollouts import ReportTraffic, RevisionTraffic
from wattline_scheduler.core.model.service_traffic import GatewayTraffic
from wattline_scheduler.core.model.state import State

GONE_S = 60.0
"""After this time it is no longer waited for where others report."""

SETTLE_S = 3.0
"""Time for all gateways to report to a scheduler that has just started."""

MAX_GATEWAYS = 1_024
"""Maximum number of gateways whose reports are kept."""


def take_report(state: State, gateway: str, report: ReportTraffic, now: Now) -> None:
    """Takes a gateway's report; counts go to the rollouts in progress."""
    ready: dict[tuple[str, JobId], int] = {}
    for one in report.revisions:
        ready[one.service, one.revision] = one.ready
        _count(state, one)
    if gateway in state.traffic or len(state.traffic) < MAX_GATEWAYS:
        state.traffic[gateway] = GatewayTraffic(now.mono_s, ready)


def _count(state: State, one: RevisionTraffic) -> None:
    rollout = state.rollouts.get(one.service)
    if rollout is None or not rollout.record.is_open:
        return
    if one.revision == rollout.record.new:
        rollout.new.add(one.requests, one.errors, one.times)
        rollout.equal += one.equal
        rollout.different += one.different
    elif one.revision == rollout.record.old:
        rollout.old.add(one.requests, one.errors, one.times)


def forget_gone(state: State, now: Now) -> None:
    """Forgets gateways that have been silent for long; without others the site has none."""
    for name in [name for name, one in state.traffic.items() if _age_s(one, now) > GONE_S]:
        del state.traffic[name]


def silence(state: State, now: Now) -> str:
    """Why it is not known which workers are ready; empty = it is."""
    if not state.traffic:
        return "no gateway reports"
    if now.mono_s - state.started_at < SETTLE_S:
        return "the scheduler has just started"
    silent = sorted(name for name, one in state.traffic.items() if one.is_silent(now))
    return f"gateway {silent[0]} does not report" if silent else ""


def _age_s(one: GatewayTraffic, now: Now) -> float:
    return now.mono_s - Instant(one.heard_at)


def ready_workers(state: State, service: str, revision: JobId, now: Now) -> int:
    """Workers of a revision that are ready at every gateway that reports."""
    key = service, revision
    heard = (one for one in state.traffic.values() if not one.is_silent(now))
    return min((one.ready.get(key, 0) for one in heard), default=0)
