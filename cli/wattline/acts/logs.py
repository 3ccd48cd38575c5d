"""The log of a task."""

from collections.abc import Iterator

from wattline.acts.jobs import one_number
from wattline.client import Client
from wattline_protocol.requests import Log


def logs(client: Client, *, job: str, task: int, attempt: int, follow: bool) -> Iterator[Log]:
    """What the task has written, piece by piece."""
    return client.log(one_number(client, job), task=task, attempt=attempt, follow=follow)
