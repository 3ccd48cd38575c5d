"""Properties of data sets: readers, reviewers, retention, what they contain, the secret."""

from typing import Any

import msgspec

from wattline_protocol.data.requests import ChangeData, SetChange
from wattline_protocol.ids import Now
from wattline_protocol.text.names import check_name
from wattline_protocol.text.toml_fields import nearest
from wattline_protocol.text.wording import MOST_LISTED, listed
from wattline_protocol.wire.client_messages import Denied, Done
from wattline_scheduler.core.model.events import ClientRequest
from wattline_scheduler.core.model.state import State
from wattline_scheduler.core.requests.data_sets.find_version import no_set, not_for_user
from wattline_scheduler.core.requests.selection import Asker
from wattline_scheduler.data_record import DataSetRecord

MAX_PROPERTY_CHARS_OF_USER = 256 * 1024
"""Of readers, reviewers and the like: a list of all sets has those of all users."""


def change(state: State, event: ClientRequest, request: ChangeData, now: Now) -> Done | Denied:
    """By the owner and operators, without another version."""
    asker, known = Asker(event.user, event.role), state.data.sets.get(request.name)
    if known is None:
        return no_set(state, asker, request.name)
    denied = not_for_user(known, asker)
    if denied is not None:
        return denied
    if not asker.may_act_for(known.owner):
        text = f"{known.kind} {known.name} belongs to {known.owner}; you are {asker.user}"
        return Denied("not_allowed", f"{text}: its owner or an operator changes it")
    changed = with_change(state, asker, known, request.change)
    if isinstance(changed, Denied):
        return changed
    if changed == known:
        return Done(f"{known.name} has these properties already")
    state.data.put_set(changed)
    state.journal.save(changed)
    names = [name for name in _given(request.change) if _differs(known, changed, name)]
    text = f"{known.name}: {listed([_WORDS.get(name, name) for name in names])} changed"
    state.journal.act("data_changed", text, now, actor=event.user, owner=known.owner)
    return Done(text + strangers(state, request.change))


_WORDS = {"retention_s": "retention"}


def _differs(before: DataSetRecord, after: DataSetRecord, name: str) -> bool:
    return bool(getattr(before, name) != getattr(after, name))


def with_change(
    state: State, asker: Asker, before: DataSetRecord, wanted: SetChange
) -> DataSetRecord | Denied:
    """The set with its properties as a request wants them."""
    names = (*(wanted.readers or ()), *(wanted.reviewers or ()), *(wanted.contains or ()))
    try:
        for name in (*names, *([wanted.secret] if wanted.secret else ())):
            check_name(name)
    except ValueError as error:
        return Denied("bad_request", f"a data set: {error}")
    after = msgspec.structs.replace(before, **_given(wanted))
    is_other = set(after.reviewers) != set(before.reviewers)
    if before.reviewers and is_other and not asker.is_operator:
        text = f"{before.name} is reviewed by {listed(before.reviewers)}"
        return Denied("not_allowed", f"{text}; an operator changes its reviewers")
    return _too_large(state, after) or after


def strangers(state: State, wanted: SetChange) -> str:
    """A warning that names readers and reviewers that are not members: they may be enrolled later,
    or are mistyped. Empty = all are, or the members are not known yet."""
    if not state.members:
        return ""
    named = dict.fromkeys((*(wanted.readers or ()), *(wanted.reviewers or ())))
    found = [name for name in named if name not in state.members]
    near = {name: nearest(name, state.members) for name in found[:MOST_LISTED]}
    texts = [f"{name} (the nearest is {near[name]})" if near.get(name) else name for name in found]
    is_not = "is not a member" if len(found) == 1 else "are not members"
    return f"; {listed(texts)} {is_not} of this site yet" if found else ""


def _too_large(state: State, changed: DataSetRecord) -> Denied | None:
    grows, has = state.data.growth(changed), state.data.property_chars[changed.owner]
    if grows <= 0 or has + grows <= MAX_PROPERTY_CHARS_OF_USER:
        return None
    text = f"stores, readers, reviewers and aliases of data sets of {changed.owner} take"
    return Denied("busy", f"{text} {has + grows} characters, at most {MAX_PROPERTY_CHARS_OF_USER}")


def _given(change: SetChange) -> dict[str, Any]:
    values = {name: getattr(change, name) for name in SetChange.__struct_fields__}
    return {
        name: tuple(dict.fromkeys(value)) if isinstance(value, tuple) else value
        for name, value in values.items()
        if value is not None
    }
