"""Runs again what made versions, and compares the results with them."""

from collections.abc import Iterator

from wattline import exits
from wattline.acts.submit import PendingNotes
from wattline.client import Client
from wattline.data.lineage import lineage
from wattline.failures import ActFailed
from wattline.show.screen import put_error
from wattline.verbs.run import Outcome


def rebuild(
    client: Client, *, references: tuple[str, ...], upstream: bool, no_wait: bool
) -> Iterator[str | Outcome]:
    """One line for each version; exit code 1 if one is not equal."""
    names = [client.data_version(reference).version.reference for reference in references]
    if upstream:
        names = _with_sources(client, names)
    jobs = {name: client.rebuild_data(name) for name in names}
    for name, job in jobs.items():
        if no_wait:
            yield f"{name}: submitted as job {job}"
    status = exits.OK
    for name, job in () if no_wait else jobs.items():
        view = client.wait(job, seen=PendingNotes())
        is_equal = view.state == "COMPLETED"
        status = status if is_equal else exits.FAILED
        text = "equal" if is_equal else f"{view.state}: {view.reason}"
        yield Outcome(f"{name}: {text} (job {job})", status)


def _with_sources(client: Client, names: list[str]) -> list[str]:
    """The versions with all that they were made from, sources first. What no job made is input."""
    found: dict[str, None] = {}
    for name in names:
        steps = lineage(client, of=name).made_from
        for step in (*reversed(steps), None):
            one = name if step is None else step.name
            if step is None or (step.kind == "data" and not step.note):
                found[one] = None
    made = {name: client.data_version(name).version.is_made_by_job for name in found}
    for name in (name for name, is_made in made.items() if not is_made):
        if name in names:
            raise ActFailed(f"{name} was not made by a job: there is nothing to run again")
        put_error(f"{name} was not made by a job: it is used as it is")
    return [name for name, is_made in made.items() if is_made]
