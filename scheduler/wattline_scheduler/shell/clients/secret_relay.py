"""Relay of secrets: sealed by clients, passed on to nodes, and stored nowhere here.

Users put and remove their own entries, operators those of all. Which entries a node has, its agent
reports; which key a value is sealed to, the allow-list says.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from wattline_protocol.data.secrets import (
    DropSecret,
    GetSecretKeys,
    ListSecrets,
    NotDone,
    PutSecret,
    RemoveSecret,
    SecretDone,
    SecretKeys,
    SecretNode,
    SecretRequest,
    SecretsDone,
    StoreSecret,
)
from wattline_protocol.ids import Instant, NodeId, UserName
from wattline_protocol.text.names import check_name
from wattline_protocol.text.visible import visible_line
from wattline_protocol.text.wording import listed
from wattline_protocol.wire.client_messages import Denied
from wattline_scheduler.core.model.effects import Effect, Reply, Send
from wattline_scheduler.core.model.events import ActRefused, SecretSent
from wattline_scheduler.core.model.node import NodeNow
from wattline_scheduler.core.model.not_found import not_there
from wattline_scheduler.core.model.state import State
from wattline_scheduler.core.requests.selection import Asker
from wattline_scheduler.views.data.secrets_view import entries_of, secrets_view

MAX_OF_USER = 4
MAX_OUTSTANDING = 16
"""Requests under way: each may have brought `MAX_BATCH_BYTES`, which wait in the sockets."""

ANSWER_WITHIN_S = 5.0
MAX_NAMED = 10

Handle = Callable[[SecretSent | ActRefused], Sequence[Effect]]
OnEntry = PutSecret | RemoveSecret


@dataclass(slots=True, eq=False)
class _Order:
    """What nodes were sent for one request, and what they have answered."""

    client: bytes
    ask: int
    user: UserName
    """Who asked."""
    until: Instant
    waiting: dict[int, NodeId] = field(default_factory=dict)
    """By the number that the agent will return."""
    done: list[NodeId] = field(default_factory=list)
    failed: list[NotDone] = field(default_factory=list)

    def reply(self) -> Reply:
        """What has been done until now."""
        answer = SecretsDone(tuple(self.done), tuple(self.failed))
        return Reply(self.client, self.ask, answer)


class SecretRelay:
    """Requests under way, by the numbers that agents return."""

    def __init__(self, state: State, keys: Callable[[], Mapping[NodeId, str]]) -> None:
        """`keys`: public keys of the enrolled agents, by node."""
        self._state, self._keys = state, keys
        self._numbers = itertools.count(1)
        self._orders: dict[int, _Order] = {}

    def answer(
        self,
        client: bytes,
        ask: int,
        asker: Asker,
        request: SecretRequest,
        now: Instant,
        handle: Handle,
    ) -> list[Effect]:
        """`handle` records an act or its refusal; what it returns is durable before a send."""
        if isinstance(request, GetSecretKeys):
            return [Reply(client, ask, self._known_keys(request))]
        if isinstance(request, ListSecrets):
            return [Reply(client, ask, secrets_view(self._state, asker))]
        denied = self._refusal(asker, request)
        if denied is None:
            order = _Order(client, ask, asker.user, Instant(now + ANSWER_WITHIN_S))
            return self._begin(order, asker, request, handle)
        effects: list[Effect] = []
        if denied.kind == "not_allowed":
            verb = "put" if isinstance(request, PutSecret) else "remove"
            text = f"{asker.role} may not {verb} a secret of user {request.user}"
            effects.extend(handle(ActRefused(asker.user, text, denied.reason)))
        return [*effects, Reply(client, ask, denied)]

    def _known_keys(self, request: GetSecretKeys) -> SecretKeys | Denied:
        if denied := self._no_node(request.nodes):
            return denied
        keys = self._keys()
        nodes = [self._state.nodes[name] for name in request.nodes or self._state.nodes]
        return SecretKeys(
            tuple(SecretNode(n.id, keys.get(n.id, ""), _away(n, keys)) for n in nodes)
        )

    def _no_node(self, nodes: Sequence[NodeId]) -> Denied | None:
        unknown = next((name for name in nodes if name not in self._state.nodes), None)
        return None if unknown is None else not_there("node", unknown, self._state.nodes)

    def _refusal(self, asker: Asker, request: OnEntry) -> Denied | None:
        try:
            user, entry = UserName(check_name(request.user)), check_name(request.entry)
        except ValueError as error:
            return Denied("bad_request", f"a secret: {error}")
        if not asker.may_act_for(user):
            text = f"secrets of {user} are put and removed by {user} and by operators"
            return Denied("not_allowed", f"{text}; you are {asker.user}")
        named = request.sealed if isinstance(request, PutSecret) else request.nodes
        if denied := self._no_node(tuple(named)):
            return denied
        known = () if isinstance(request, PutSecret) else entries_of(self._state, user)
        if isinstance(request, RemoveSecret) and entry not in known:
            have = listed(sorted(known), MAX_NAMED) or "none"
            text = f"no node that reports has secret {entry} of user {user}; there are {have}"
            return Denied("not_found", text)
        under_way = {id(order): order.user for order in self._orders.values()}
        own = sum(user == asker.user for user in under_way.values())
        if own >= MAX_OF_USER or len(under_way) >= MAX_OUTSTANDING:
            return Denied("busy", f"{len(under_way)} secrets are being sent; retry later")
        return None

    def _begin(self, order: _Order, asker: Asker, request: OnEntry, handle: Handle) -> list[Effect]:
        keys, sends = self._keys(), list[Send]()
        for node, message in self._messages(request):
            if away := _away(self._state.nodes[node], keys):
                order.failed.append(NotDone(node, away))
                continue
            order.waiting[message.request] = node
            sends.append(Send(node, message))
        if not sends:
            return [order.reply()]
        self._orders.update(dict.fromkeys(order.waiting, order))
        nodes, is_removed = tuple(order.waiting.values()), isinstance(request, RemoveSecret)
        sent = SecretSent(asker.user, request.user, request.entry, nodes, is_removed)
        return [*handle(sent), *sends]

    def _messages(self, request: OnEntry) -> Iterator[tuple[NodeId, StoreSecret | DropSecret]]:
        of = request.user, request.entry
        if isinstance(request, PutSecret):
            for node, sealed in request.sealed.items():
                yield node, StoreSecret(next(self._numbers), *of, sealed)
            return
        for node in dict.fromkeys(request.nodes or self._state.nodes):
            yield node, DropSecret(next(self._numbers), *of)

    def take(self, node: NodeId, done: SecretDone) -> list[Reply]:
        """The answer for the client, once all its nodes have answered."""
        order = self._orders.get(done.request)
        if order is None or order.waiting[done.request] != node:
            return []
        del self._orders[done.request], order.waiting[done.request]
        if done.error:
            order.failed.append(NotDone(node, visible_line(done.error)))
        else:
            order.done.append(node)
        return [] if order.waiting else [order.reply()]

    def expire(self, now: Instant) -> list[Reply]:
        """Answers for the requests that some nodes did not answer in time."""
        late = {id(order): order for order in self._orders.values() if now > order.until}
        for order in late.values():
            for number, node in order.waiting.items():
                del self._orders[number]
                text = f"it did not answer within {ANSWER_WITHIN_S:.0f} s"
                order.failed.append(NotDone(node, text))
        return [order.reply() for order in late.values()]


def _away(node: NodeNow, keys: Mapping[NodeId, str]) -> str:
    """Why a node can store nothing now; empty = it can."""
    if node.id not in keys:
        return "not enrolled"
    if not node.is_reachable:
        return node.state if node.state in ("off", "never heard", "silent") else "it connects"
    return "" if node.takes_secrets else "its agent or keeper is of an earlier release"
