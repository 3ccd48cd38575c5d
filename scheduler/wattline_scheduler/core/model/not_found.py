"""Denials of requests that name unknown things."""

from collections.abc import Collection

from wattline_protocol.ids import JobId
from wattline_protocol.text.toml_fields import nearest
from wattline_protocol.text.wording import listed
from wattline_protocol.wire.client_messages import Denied

MAX_NAMED = 10
"""Maximum number of names in one denial."""


def no_job(number: JobId, next_job: JobId) -> Denied:
    """Denies an unknown job number. Jobs are recorded permanently, so that an unknown one below
    `next_job` was skipped by a recovery."""
    text = f"there is no job {number}"
    if 0 < number < next_job:
        skipped = "numbers below were skipped when a backup was restored"
        text = f"{text} on record: {skipped}; submit again what was submitted after the backup"
    return Denied("not_found", text)


def not_yet(names: Collection[str]) -> str:
    """Says that names which may be used in advance do not exist."""
    verb = "does" if len(names) == 1 else "do"
    return f"{listed(list(names), MAX_NAMED)} {verb} not exist yet"


def not_there(word: str, name: str, known: Collection[str]) -> Denied:
    """Denies an unknown name, with the nearest one or some known ones."""
    near = nearest(name, known)
    some = listed(list(known), MAX_NAMED) or "none"
    hint = f"the nearest is {near}" if near else f"the site has {some}"
    return Denied("not_found", f"there is no {word} {name!r}; {hint}")
