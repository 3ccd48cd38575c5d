"""Acts on jobs that exist."""

from collections.abc import Callable, Iterator

from wattline.client import Client, NotFound
from wattline.failures import ActFailed
from wattline.verbs.values import job_numbers
from wattline_protocol.views import ENDED_STATES, ExplainView, JobView

LAST = "last"


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


def cancel(client: Client, *, jobs: str) -> Iterator[str]:
    """Stop them."""
    return _each(client, jobs, client.cancel)


def hold(client: Client, *, jobs: str) -> Iterator[str]:
    """Keep them from starting."""
    return _each(client, jobs, client.hold)


def release(client: Client, *, jobs: str) -> Iterator[str]:
    """Let them start."""
    return _each(client, jobs, client.release)


def numbers(client: Client, selector: str) -> list[int]:
    """Job numbers that `selector` names: numbers and ranges, or `last`."""
    if selector == LAST:
        return [_newest_own(client)]
    try:
        return job_numbers(selector)
    except ValueError as error:
        raise ActFailed(str(error), status=2) from error


def one_number(client: Client, selector: str) -> int:
    """The one job that `selector` names."""
    found = numbers(client, selector)
    if len(found) != 1:
        raise ActFailed(f"{selector} names {len(found)} jobs; this verb takes one", status=2)
    return found[0]


def _newest_own(client: Client) -> int:
    me = client.me.user
    own = [job.id for job in client.jobs() if job.owner == me]
    if not own:
        raise NotFound(f"{me} has submitted no job yet, so there is no last one")
    return max(own)


def _each(client: Client, selector: str, act: Callable[[int], str]) -> Iterator[str]:
    """Do `act` for each job, telling of each as it is done; the first refusal ends it."""
    return (act(number) for number in numbers(client, selector))
