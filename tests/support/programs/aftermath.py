"""What a failed test leaves behind: added to its report, and cleared away before the next one."""

from contextlib import suppress
from datetime import UTC, datetime

from support.programs.cli_site import CliSite
from wattline.client.errors import Conflict, NotFound, WattlineError
from wattline_protocol.views.site_views import EventView

EVENTS = 60


def story(site: CliSite) -> list[tuple[str, str]]:
    """The newest events of a site and the ends of its logs, as sections of a report."""
    return [("newest events of the site", _events(site)), *site.tails()]


def settle(site: CliSite) -> None:
    """As it was made: its programs run, its nodes take work, budgets are whole, nothing runs."""
    site.revive()
    client = site.client
    for node in client.nodes():
        with suppress(Conflict):  # it takes tasks
            client.undrain(node.id)
    for reservation in client.reservations():
        client.unreserve(reservation.name)
    for limit in client.limits():
        if limit.name == "shed":
            client.restore(domain=limit.domain)
    _cancel_all(site)
    site.until(lambda: _is_idle(site), lambda: f"the site is idle again\n{_events(site)}")
    site.is_left_over = False


def _cancel_all(site: CliSite) -> None:
    for job in site.client.jobs(ended=False):
        with suppress(Conflict, NotFound):  # it has ended meanwhile
            site.client.cancel(job.id)


def _is_idle(site: CliSite) -> bool:
    nodes = site.client.nodes()
    are_well = all(node.state in ("ok", "never heard") and not node.tasks for node in nodes)
    return are_well and not site.client.jobs(ended=False)


def _events(site: CliSite) -> str:
    try:
        return "\n".join(map(_line, site.client.events(newest=EVENTS)))
    except WattlineError as error:
        return f"the scheduler tells none: {error}"


def _line(event: EventView) -> str:
    at = datetime.fromtimestamp(event.unix_s, UTC)
    job = f" job {event.job}" if event.job is not None else ""
    return f"{at:%H:%M:%S.%f} {event.level:7} {event.kind}{job}: {event.text} ({event.actor})"
