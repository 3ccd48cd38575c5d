"""View of a service's SLO."""

from wattline_protocol.ids import Now
from wattline_protocol.job.spec import JobSpec
from wattline_protocol.views.service_views import SloView
from wattline_scheduler.core.model.state import State
from wattline_scheduler.power.scaling.error_budget import HOUR_S, LONGEST_S, Window, window

MS_PER_S = 1_000.0


def slo_view(state: State, spec: JobSpec, now: Now) -> SloView | None:
    """None: it has none."""
    slo = None if spec.service is None else spec.service.slo
    if slo is None:
        return None
    minutes = state.service_minutes.get(spec.name)
    hour = six = Window()
    if minutes is not None:
        hour = window(minutes, slo, HOUR_S, now.unix_s)
        six = window(minutes, slo, LONGEST_S, now.unix_s)
    return SloView(
        p95_ms=slo.p95_s * MS_PER_S,
        errors=slo.errors,
        burn_1h=_rounded(hour.burn(slo)),
        burn_6h=_rounded(six.burn(slo)),
        measured_p95_ms=None if hour.p95_s is None else round(hour.p95_s * MS_PER_S, 3),
        measured_errors=hour.failed / hour.requests if hour.requests else None,
        known_h=round(min(six.seconds / HOUR_S, LONGEST_S / HOUR_S), 2),
    )


def _rounded(burn: float | None) -> float | None:
    return None if burn is None else round(burn, 3)
