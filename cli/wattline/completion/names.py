"""Completes names of the site. Without a scheduler that answers at once there are none."""

import re
from contextlib import suppress

from click.shell_completion import CompletionItem

from wattline.client import Client, WattlineError
from wattline_protocol.text.names import MAX_NAME_CHARS
from wattline_protocol.trust.keys import KeyFileError
from wattline_protocol.views.name_views import ListNames, NamedView, NameKind, Names

PATIENCE_S = 0.12
"""A shell waits for it at each Tab; the program itself takes about as long."""

OF_PARAMETER: dict[str, NameKind] = {
    "job": "job",
    "jobs": "open job",
    "run": "job",
    "after_ok": "open job",
    "after_any": "open job",
    "node": "node",
    "domain": "domain",
    "zone": "domain",
    "service": "service",
    "fallback": "service",
    "queue": "queue",
    "from_queue": "queue",
    "account": "account",
    "from_account": "account",
    "reservation": "reservation",
    "reference": "data set",
    "datasets": "data set",
    "made_from": "data set",
    "makes": "data set",
    "rebuilds": "data set",
}
OF_VERB: dict[tuple[str, str], NameKind] = {
    ("requeue", "jobs"): "job",
    ("update", "jobs"): "job",
    ("rollout", "name"): "service",
    ("service", "name"): "service",
    ("capacity", "name"): "service",
    ("infer", "name"): "service",
    ("unreserve", "name"): "reservation",
    ("reserve", "nodes"): "node",
    ("runs compare", "a"): "job",
    ("runs compare", "b"): "job",
    ("submit", "model"): "data set",
    ("run", "model"): "data set",
    ("whatif", "model"): "data set",
    ("data add", "name"): "data set",
    ("data add", "from_run"): "job",
    ("data ls", "name"): "data set",
    ("data lineage", "of"): "data set",
    ("data check", "new"): "data set",
    ("data check", "against"): "data set",
    ("data diff", "old"): "data set",
    ("data diff", "new"): "data set",
}
"""Parameters whose name alone does not say what they hold."""

_LISTED = re.compile(r"(.*[,-])?([^,-]*)", re.DOTALL)
_SAFE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@/+-]*", re.ASCII)
"""Words that no shell expands or splits. Names of others, which a line would then contain as they
are, are offered only in this form, whatever the scheduler answers."""
_SAFE_NOTE = re.compile(r"[A-Za-z0-9_. -]*", re.ASCII)


def complete(
    verb: str, parameter: str, incomplete: str, bundle: str | None
) -> list[CompletionItem[str]]:
    """Values of a parameter that begin with `incomplete`; of a list, its last part."""
    kind = OF_VERB.get((verb, parameter)) or OF_PARAMETER.get(parameter)
    if kind is None:
        return []
    before, prefix = "", incomplete
    if kind in ("job", "open job") and (found := _LISTED.fullmatch(incomplete)):
        before, prefix = found[1] or "", found[2]
    if prefix and (len(prefix) > MAX_NAME_CHARS or not _SAFE.fullmatch(prefix)):
        return []
    names = (one for one in _names(kind, prefix, bundle) if _SAFE.fullmatch(one.name))
    return [CompletionItem(before + one.name, help=_note(one)) for one in names]


def _note(one: NamedView) -> str | None:
    return one.note if one.note and _SAFE_NOTE.fullmatch(one.note) else None


def _names(kind: NameKind, prefix: str, bundle: str | None) -> tuple[NamedView, ...]:
    with (
        suppress(WattlineError, KeyFileError, OSError, ValueError),
        Client(bundle, timeout_s=PATIENCE_S) as client,
    ):
        return client.get(ListNames(kind, prefix), Names).names
    return ()
