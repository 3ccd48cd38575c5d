"""Secrets on their way to nodes: who may put which, what is on record, and what nodes answer."""

import msgspec
import pytest

from support.core.harness import Harness, joined
from support.core.sites import site
from wattline_protocol.data.secrets import (
    DropSecret,
    GetSecretKeys,
    ListSecrets,
    NotDone,
    PutSecret,
    RemoveSecret,
    SecretDone,
    SecretKeys,
    SecretName,
    SecretNames,
    SecretRequest,
    Secrets,
    SecretsDone,
    SecretView,
    StoreSecret,
)
from wattline_protocol.ids import Instant, NodeId, Now, UnixTime, UserName
from wattline_protocol.wire.client_messages import Answer, Denied
from wattline_scheduler.core.model.effects import Effect, Reply, Send
from wattline_scheduler.core.requests.selection import Asker
from wattline_scheduler.records import ActRecord
from wattline_scheduler.shell.clients import secret_relay
from wattline_scheduler.shell.clients.secret_relay import ANSWER_WITHIN_S, SecretRelay

ADA = Asker(UserName("ada"), "submitter")
EVE = Asker(UserName("eve"), "submitter")
OPS = Asker(UserName("ops"), "operator")
SEALED = b"sealed-m4rker"


class Rig:
    """Three nodes that take secrets, and a fourth that was never heard."""

    def __init__(self) -> None:
        self.site: Harness = joined(site().rack("a", 4).build())
        nodes = self.site.cluster.state.nodes
        for name in ("a1", "a2", "a3"):
            nodes[NodeId(name)].takes_secrets = True
        self.keys = {name: f"key-of-{name}" for name in nodes}
        self.relay = SecretRelay(self.site.cluster.state, lambda: self.keys)
        self.now = Instant(0.0)

    def ask(self, asker: Asker, request: SecretRequest) -> list[Effect]:
        at = Now(self.now, UnixTime(1_700_000_000.0))

        def handle(event: object) -> list[Effect]:
            return self.site.cluster.handle(event, at)  # type: ignore[arg-type]

        effects = self.relay.answer(b"c", 1, asker, request, self.now, handle)
        for effect in effects:
            assert SEALED not in msgspec.msgpack.encode(saved(effect))
        return effects

    def put(self, asker: Asker = ADA, *nodes: str, user: str = "ada") -> list[Effect]:
        sealed = {NodeId(name): SEALED for name in nodes or ("a1", "a2")}
        return self.ask(asker, PutSecret(user, "wandb", sealed))

    def report(self, node: str, *names: str) -> None:
        found = self.site.cluster.state.nodes[NodeId(node)]
        epoch = self.site.cluster.state.epoch
        entries = tuple(SecretName(*one.split("/")) for one in names)
        self.site.say(node, SecretNames(epoch, found.incarnation, entries))


def saved(effect: Effect) -> object:
    """What of an effect is stored."""
    return None if isinstance(effect, Reply | Send) else getattr(effect, "record", None)


def sent(effects: list[Effect]) -> dict[str, StoreSecret | DropSecret]:
    found = {effect.node: effect.message for effect in effects if isinstance(effect, Send)}
    assert all(isinstance(one, StoreSecret | DropSecret) for one in found.values())
    return found  # type: ignore[return-value]


def answer(effects: list[Effect] | list[Reply]) -> Answer:
    (reply,) = [effect for effect in effects if isinstance(effect, Reply)]
    return reply.answer


def acts(effects: list[Effect]) -> list[str]:
    records = [getattr(effect, "record", None) for effect in effects]
    return [one.event.text for one in records if isinstance(one, ActRecord)]


def test_a_value_is_passed_on_and_its_name_is_on_record_before() -> None:
    rig = Rig()
    effects = rig.put()
    messages = sent(effects)
    assert {node: one.sealed for node, one in messages.items() if isinstance(one, StoreSecret)} == {
        "a1": SEALED,
        "a2": SEALED,
    }
    assert acts(effects) == ["secret wandb of user ada is sent to a1, a2"]
    assert not isinstance(effects[0], Send)
    one, two = messages["a1"].request, messages["a2"].request
    assert rig.relay.take(NodeId("a1"), SecretDone(one)) == []
    assert rig.relay.take(NodeId("a1"), SecretDone(two)) == [], "no answer for another node"
    replies = rig.relay.take(NodeId("a2"), SecretDone(two, "no \x1b[1mspace"))
    assert answer(replies) == SecretsDone((NodeId("a1"),), (NotDone(NodeId("a2"), "no ␛[1mspace"),))
    assert rig.relay.take(NodeId("a2"), SecretDone(two)) == [], "no client waits any more"


@pytest.mark.parametrize("request_kind", ["put", "rm"])
def test_users_act_on_their_own_secrets_and_operators_on_all(request_kind: str) -> None:
    rig = Rig()
    rig.report("a1", "ada/wandb")
    remove = RemoveSecret("ada", "wandb")
    refused = rig.put(EVE) if request_kind == "put" else rig.ask(EVE, remove)
    denied = answer(refused)
    assert isinstance(denied, Denied)
    assert denied.kind == "not_allowed"
    assert sent(refused) == {}
    assert "of user ada" in acts(refused)[0]
    done = rig.put(OPS) if request_kind == "put" else rig.ask(OPS, remove)
    assert sent(done)


def test_nodes_that_are_away_are_named_at_once_and_late_ones_in_time() -> None:
    rig = Rig()
    rig.site.cluster.state.nodes[NodeId("a3")].is_silent = True
    del rig.keys[NodeId("a2")]
    effects = rig.put(ADA, "a1", "a2", "a3", "a4")
    assert list(sent(effects)) == ["a1"]
    rig.now = Instant(ANSWER_WITHIN_S + 1)
    done = answer(rig.relay.expire(rig.now))
    assert isinstance(done, SecretsDone)
    assert {one.node: one.why for one in done.failed} == {
        "a1": "it did not answer within 5 s",
        "a2": "not enrolled",
        "a3": "silent",
        "a4": "its agent or keeper is of an earlier release",
    }
    assert rig.relay.take(NodeId("a1"), SecretDone(sent(effects)["a1"].request)) == []
    away = rig.put(ADA, "a3")
    assert answer(away) == SecretsDone((), (NotDone(NodeId("a3"), "silent"),))
    assert acts(away) == []


@pytest.mark.parametrize(
    ("request_", "kind", "words"),
    [
        (PutSecret("ada", "a/b", {}), "bad_request", "not a valid name"),
        (PutSecret("ada", "wandb", {NodeId("b9"): b"x"}), "not_found", "b9"),
        (RemoveSecret("ada", "other"), "not_found", "there are wandb"),
        (RemoveSecret("ada", "wandb", (NodeId("b9"),)), "not_found", "b9"),
        (GetSecretKeys((NodeId("b9"),)), "not_found", "b9"),
    ],
    ids=["name", "node", "entry", "rm-node", "keys-node"],
)
def test_bad_requests_are_refused_with_the_reason(
    request_: SecretRequest, kind: str, words: str
) -> None:
    rig = Rig()
    rig.report("a1", "ada/wandb")
    denied = answer(rig.ask(ADA, request_))
    assert isinstance(denied, Denied)
    assert denied.kind == kind
    assert words in denied.reason


def test_requests_under_way_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secret_relay, "MAX_OF_USER", 1)
    monkeypatch.setattr(secret_relay, "MAX_OUTSTANDING", 2)
    rig = Rig()
    assert sent(rig.put())
    for asker, is_busy in ((ADA, True), (OPS, False), (EVE, True)):
        effects = rig.put(asker, user=asker.user)
        assert bool(sent(effects)) is not is_busy
        assert is_busy is (not sent(effects) and getattr(answer(effects), "kind", "") == "busy")


def test_a_list_has_names_of_ones_own_and_keys_are_those_of_the_allow_list() -> None:
    rig = Rig()
    rig.report("a1", "ada/wandb", "eve/hf")
    rig.report("a2", "ada/wandb")
    assert answer(rig.ask(ADA, ListSecrets())) == Secrets((SecretView("ada", "wandb", 2, 3),))
    of_all = answer(rig.ask(OPS, ListSecrets()))
    assert isinstance(of_all, Secrets)
    assert [(one.user, one.entry, one.nodes) for one in of_all.secrets] == [
        ("ada", "wandb", 2),
        ("eve", "hf", 1),
    ]
    keys = answer(rig.ask(ADA, GetSecretKeys((NodeId("a1"), NodeId("a4")))))
    assert isinstance(keys, SecretKeys)
    assert [(one.node, one.key, bool(one.away)) for one in keys.nodes] == [
        ("a1", "key-of-a1", False),
        ("a4", "key-of-a4", True),
    ]
