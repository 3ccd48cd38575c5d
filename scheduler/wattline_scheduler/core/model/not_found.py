"""Names in requests that nothing on the site has."""

from collections.abc import Collection
from itertools import islice

from wattline_protocol.ids import JobId
from wattline_protocol.text.toml_fields import nearest
from wattline_protocol.wire.client_messages import Denied

MAX_NAMED = 10
"""In one refusal."""


def no_job(number: JobId, next_job: JobId) -> Denied:
    """A refusal of a number that nothing on record has. Jobs are on record for good: below
    `next_job` it is one that a recovery left out."""
    text = f"there is no job {number}"
    if 0 < number < next_job:
        skipped = "a recovery from a backup went on with higher numbers"
        text = f"{text} on record: {skipped}; submit again what was submitted after that backup"
    return Denied("not_found", text)


def not_there(word: str, name: str, known: Collection[str]) -> Denied:
    """A refusal with the nearest name, or with some of those that are there."""
    some = ", ".join(islice(known, MAX_NAMED)) or "none"
    more = " …" if len(known) > MAX_NAMED else ""
    near = nearest(name, known)
    hint = f"the nearest is {near}" if near else f"the site has {some}{more}"
    return Denied("not_found", f"there is no {word} {name!r}; {hint}")
