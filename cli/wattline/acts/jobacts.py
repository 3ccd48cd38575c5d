"""Acts on existing jobs: selection and result."""

from typing import Any

from wattline import exits
from wattline.client import Client
from wattline.client.errors import DENIALS, RequestDenied
from wattline.client.jobacts import selection
from wattline.failures import ActFailed, status_of
from wattline.verbs.run import Outcome
from wattline_protocol.job.selection import Selection, problem
from wattline_protocol.wire.client_messages import Acted


def which(
    jobs: str | None,
    user: tuple[str, ...],
    account: tuple[str, ...],
    queue: tuple[str, ...],
    name: tuple[str, ...],
    state: tuple[str, ...],
    where: str | None,
) -> Selection:
    """Selection of jobs by the argument and the filters."""
    try:
        chosen = selection(
            jobs,
            user=user,
            account=account,
            queue=queue,
            name=name,
            state=state,  # type: ignore[arg-type]  # the table of verbs offers no others
            where=where or "",
        )
    except ValueError as error:
        raise ActFailed(str(error), exits.USAGE) from error
    wrong = problem(chosen)
    if wrong:
        raise ActFailed(wrong, exits.USAGE)
    return chosen


def cancel(client: Client, *, dry_run: bool, jobs: str | None, **filters: Any) -> Outcome:
    """Cancel jobs."""
    return _outcome(client.cancel(which(jobs, **filters), dry_run=dry_run))


def hold(client: Client, *, dry_run: bool, jobs: str | None, **filters: Any) -> Outcome:
    """Hold jobs."""
    return _outcome(client.hold(which(jobs, **filters), dry_run=dry_run))


def release(client: Client, *, dry_run: bool, jobs: str | None, **filters: Any) -> Outcome:
    """Release held jobs."""
    return _outcome(client.release(which(jobs, **filters), dry_run=dry_run))


def requeue(
    client: Client,
    *,
    dry_run: bool,
    from_scratch: bool,
    jobs: str | None,
    **filters: Any,
) -> Outcome:
    """Requeue jobs."""
    chosen = which(jobs, **filters)
    return _outcome(client.requeue(chosen, dry_run=dry_run, from_scratch=from_scratch))


def update(
    client: Client,
    *,
    dry_run: bool,
    jobs: str | None,
    user: tuple[str, ...],
    from_account: tuple[str, ...],
    from_queue: tuple[str, ...],
    name: tuple[str, ...],
    state: tuple[str, ...],
    where: str | None,
    **options: Any,
) -> Outcome:
    """Change the specification of jobs."""
    chosen = which(jobs, user, from_account, from_queue, name, state, where)
    changes = {key: value for key, value in options.items() if _is_given(value)}
    at_a_time = changes.get("at_a_time")
    if isinstance(at_a_time, str) and at_a_time.isdecimal():
        changes["at_a_time"] = int(at_a_time)
    if not changes:
        raise ActFailed("specify what to change, for example --priority high", exits.USAGE)
    return _outcome(client.update(chosen, dry_run=dry_run, **changes))


def _is_given(value: object) -> bool:
    """Whether an option was on the command line; 0 is a value like any other."""
    return value is not None and value is not False and value != ()


def _outcome(acted: Acted) -> Outcome:
    """The answer, with the exit code of its first refusal."""
    refused = acted.refused
    if not refused:
        return Outcome(acted)
    error = DENIALS.get(refused[0].refused, RequestDenied)(refused[0].text)
    return Outcome(acted, status_of(error) or exits.FAILED)
