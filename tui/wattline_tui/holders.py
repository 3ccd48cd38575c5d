"""Allocations of a shared or partitioned GPU: a row for each part below the row of the GPU."""

from wattline_protocol.ids import JobId
from wattline_protocol.job.spec import WHOLE_GPU
from wattline_protocol.views.site_views import GpuView
from wattline_tui.model import View

Holder = tuple[str, str]
"""The part, and its job."""


def holders_of(gpu: GpuView, view: View) -> list[Holder]:
    """Empty where one task has all of the GPU, or none has any of it."""
    if gpu.mig is not None:
        return [(one.profile, _named(one.job, view)) for one in gpu.mig]
    found = [(_part(one.share_permille), _named(one.job, view)) for one in gpu.parts]
    left = WHOLE_GPU - sum(one.share_permille for one in gpu.parts)
    return [*found, (_part(left), "free")] if found and left else found


def held_in_short(gpu: GpuView) -> str:
    """Text for the row of the GPU itself."""
    if gpu.mig is not None:
        taken = sum(one.job is not None for one in gpu.mig)
        return f"{taken} of {len(gpu.mig)} MIG devices" if gpu.mig else "no MIG devices"
    if gpu.parts:
        held = sum(part.share_permille for part in gpu.parts)
        return f"{_part(held)} in shares"
    return gpu.jobs or "–"


def _part(permille: int) -> str:
    return f"{permille / WHOLE_GPU:g}"


def _named(job: JobId | None, view: View) -> str:
    if job is None:
        return "free"
    known = view.job(job)
    return f"{job} {known.name}" if known is not None else str(job)
