"""Views of secrets: names of entries, and how many nodes have each."""

from collections import Counter
from collections.abc import Iterator

from wattline_protocol.data.secrets import Secrets, SecretView
from wattline_protocol.ids import UserName
from wattline_protocol.site.labels import secret_names
from wattline_protocol.wire.client_messages import MAX_LISTED
from wattline_scheduler.core.model.state import State
from wattline_scheduler.core.requests.selection import Asker


def secrets_view(state: State, asker: Asker) -> Secrets:
    """The entries that a user may see, by user and name."""
    counts = Counter(name for name in _reported(state) if asker.may_act_for(UserName(name[0])))
    of_nodes = sum(node.takes_secrets and node.is_reachable for node in state.nodes.values())
    rows = [SecretView(*name, count, of_nodes) for name, count in sorted(counts.items())]
    return Secrets(tuple(rows[:MAX_LISTED]), is_cut=len(rows) > MAX_LISTED)


def entries_of(state: State, user: UserName) -> set[str]:
    """Names of a user's entries on any node."""
    return {entry for owner, entry in _reported(state) if owner == user}


def _reported(state: State) -> Iterator[tuple[str, str]]:
    for node in state.nodes.values():
        yield from secret_names(node.secrets)
