"""What would happen with fewer watts, as text: sentences, then the jobs concerned."""

from wattline_protocol.text.visible import visible_line
from wattline_protocol.text.wording import counted
from wattline_protocol.views.power_views import JobOutlook, PowerOutlook


def outlook_text(view: PowerOutlook) -> str:
    """For a page."""
    lines = list(view.lines)
    if view.jobs:
        lines += ["", *(_line(job) for job in view.jobs)]
        unlisted = view.lost + view.paused + view.slowed - len(view.jobs)
        lines += [f"and {unlisted} more"] if unlisted > 0 else []
    return "\n".join(lines)


def _line(job: JobOutlook) -> str:
    what = f"{job.before:.0%} → {job.after:.0%} of its watts" if job.effect == "slowed" else ""
    name = visible_line(f"{job.name} ({job.owner})")
    gpus = counted(job.gpus, "GPU")
    return f"{job.job:>8}  {job.effect:<6}  {gpus:>9}  {name}  {what}".rstrip()
