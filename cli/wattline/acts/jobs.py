"""Queries about jobs."""

from wattline import exits
from wattline.client import Client, NotFound
from wattline.client.jobacts import selection
from wattline.failures import ActFailed
from wattline_protocol.job.selection import LAST, Span, parse_jobs
from wattline_protocol.views.site_views import ExplainView, JobView

_ONE = "write its number, or last; `wattline jobs --all` lists numbers"


def jobs(
    client: Client,
    *,
    all_jobs: bool,
    mine: bool,
    lines: int | None,
    user: tuple[str, ...],
    where: str,
    **filters: tuple[str, ...],
) -> tuple[JobView, ...]:
    """Pending and running jobs; with `all_jobs`, or a final state, the others too."""
    if lines is not None and lines < 0:
        raise ActFailed(f"--lines {lines}: expected a whole number from 0", exits.USAGE)
    users = (*user, client.me.user) if mine else user
    which = selection(user=users, where=where, **filters)  # type: ignore[arg-type]  # the table offers no others
    return client.jobs(which, ended=all_jobs or which.names_ended, limit=lines)


def job(client: Client, *, job: str) -> JobView:
    """One job in full."""
    return client.job(one_number(client, job))


def explain(client: Client, *, job: str) -> ExplainView:
    """Why it is pending."""
    return client.explain(one_number(client, job))


def one_number(client: Client, selector: str) -> int:
    """The one job that `selector` names by its number, or `last`."""
    if selector == LAST:
        return _newest_own(client)
    try:
        spans = parse_jobs(selector)
    except ValueError as error:
        raise ActFailed(f"{selector!r} is not a job; {_ONE}", exits.USAGE) from error
    span = only_span(spans)
    if span is None:
        task = "; `wattline logs JOB --task N` prints one task" if spans[0].indices else ""
        raise ActFailed(f"{selector!r} is not one whole job; {_ONE}{task}", exits.USAGE)
    return span.first


def only_span(spans: tuple[Span, ...]) -> Span | None:
    """The single whole job that the spans name."""
    is_one = len(spans) == 1 and spans[0].first == spans[0].last and not spans[0].indices
    return spans[0] if is_one else None


def _newest_own(client: Client) -> int:
    me = client.me.user
    own = [job.id for job in client.jobs() if job.owner == me]
    if not own:
        raise NotFound(f"{me} has not submitted any job: there is no last one")
    return max(own)
