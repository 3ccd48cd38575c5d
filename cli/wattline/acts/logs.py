"""The log of a task."""

from collections.abc import Iterator

from wattline import exits
from wattline.acts.jobs import one_number
from wattline.client import Client
from wattline.failures import ActFailed
from wattline_protocol.wire.client_messages import Log


def logs(
    client: Client, *, job: str, task: int, attempt: int, follow: bool, tail: int | None
) -> Iterator[Log]:
    """Output of the task, piece by piece."""
    if tail is not None and tail < 0:
        raise ActFailed(f"--tail {tail}: expected a number of lines from 0", exits.USAGE)
    number = one_number(client, job)
    return client.log(number, task=task, attempt=attempt, follow=follow, tail=tail)
