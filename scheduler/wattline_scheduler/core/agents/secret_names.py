"""Names of the secrets that a node has, as its agent reports them."""

from wattline_protocol.data.secrets import SecretNames
from wattline_protocol.site.labels import secret_label
from wattline_scheduler.core.model.node import NodeNow
from wattline_scheduler.core.model.state import State


def take_names(state: State, node: NodeNow, message: SecretNames) -> None:
    """Replaces the names of its entries: jobs with secrets start only where all of theirs are. No
    job is denied for want of them, so that no verdict depends on them."""
    secrets = frozenset(secret_label(name.user, name.entry) for name in message.names)
    if secrets == node.secrets:
        return
    node.secrets = secrets
    node.outdate_offer()
    state.wants_plan = True
