"""Acts on jobs that exist."""

from wattline.client import Client, NotFound
from wattline.failures import ActFailed
from wattline_protocol.selecting import LAST, Span, parse_jobs
from wattline_protocol.views import ENDED_STATES, ExplainView, JobView


def jobs(
    client: Client, *, all_jobs: bool, state: tuple[str, ...], mine: bool
) -> tuple[JobView, ...]:
    """Jobs that wait or run; with `all_jobs`, or a state that has ended, the others too."""
    with_ended = all_jobs or any(s in ENDED_STATES for s in state)
    me = client.me.user if mine else None
    return tuple(
        job
        for job in client.jobs(ended=with_ended)
        if (not state or job.state in state) and me in (None, job.owner)
    )


def job(client: Client, *, job: str) -> JobView:
    """One job in full."""
    return client.job(one_number(client, job))


def explain(client: Client, *, job: str) -> ExplainView:
    """Why it waits."""
    return client.explain(one_number(client, job))


def one_number(client: Client, selector: str) -> int:
    """The one job that `selector` names by its number, or `last`."""
    if selector == LAST:
        return _newest_own(client)
    try:
        span = only_span(parse_jobs(selector))
    except ValueError as error:
        raise ActFailed(str(error), status=2) from error
    if span is None:
        raise ActFailed(f"{selector} names more or less than a job; this verb takes one", status=2)
    return span.first


def only_span(spans: tuple[Span, ...]) -> Span | None:
    """The single whole job that the spans name."""
    is_one = len(spans) == 1 and spans[0].first == spans[0].last and not spans[0].indices
    return spans[0] if is_one else None


def _newest_own(client: Client) -> int:
    me = client.me.user
    own = [job.id for job in client.jobs() if job.owner == me]
    if not own:
        raise NotFound(f"{me} has submitted no job yet, so there is no last one")
    return max(own)
