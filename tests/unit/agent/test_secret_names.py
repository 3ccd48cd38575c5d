"""What an agent reports of its secrets: names, once adopted and on change."""

import msgspec
import pytest

from support.node.rig import Rig, messages_of, of
from wattline_agent.core.effects import ChangeSecret
from wattline_agent.core.events import Connected, ConnectionLost, SecretsFound
from wattline_protocol.data.secrets import DropSecret, SecretNames
from wattline_protocol.wire.agent_messages import Beat, Hello


@pytest.fixture
def rig() -> Rig:
    """Connected, with a Hello that waits for its answer."""
    made = Rig(takes_secrets=True)
    made.boot()
    made.handle(SecretsFound(("ada/wandb",)))
    made.handle(Connected())
    return made


def welcome(rig: Rig, *, takes_secrets: bool = True) -> None:
    hello = messages_of(rig.effects, Hello)[-1]
    answer = rig.welcome(hello)
    rig.say(msgspec.structs.replace(answer, takes_secrets=takes_secrets))


def reported(rig: Rig) -> list[tuple[str, ...]]:
    said = messages_of(rig.effects, SecretNames)
    return [tuple(f"{name.user}/{name.entry}" for name in one.names) for one in said]


def test_names_are_sent_once_adopted_on_change_and_on_each_connection(rig: Rig) -> None:
    assert messages_of(rig.effects, Hello)[-1].takes_secrets
    assert reported(rig) == []
    welcome(rig)
    rig.pass_s(3)
    assert reported(rig) == [("ada/wandb",)]
    rig.handle(SecretsFound(("ada/wandb", "bob/hf")))
    rig.handle(SecretsFound(()))
    assert reported(rig)[1:] == [("ada/wandb", "bob/hf"), ()]
    rig.handle(SecretsFound(("ada/wandb",)))
    rig.handle(ConnectionLost(), Connected())
    welcome(rig)
    rig.pass_s(3)
    assert reported(rig)[3:] == [("ada/wandb",), ("ada/wandb",)]


def test_a_scheduler_of_an_earlier_release_is_sent_none(rig: Rig) -> None:
    welcome(rig, takes_secrets=False)
    rig.pass_s(3)
    assert reported(rig) == []


def test_orders_are_carried_out_once_welcomed_and_refused_files_are_a_problem(rig: Rig) -> None:
    order = DropSecret(7, "ada", "wandb")
    assert of(rig.say(order), ChangeSecret) == []
    welcome(rig)
    assert of(rig.say(order), ChangeSecret) == [ChangeSecret(order)]
    rig.handle(SecretsFound((), ("/s/ada/wandb can be read by others: chmod 600",)))
    rig.pass_s(3)
    kinds = {one.kind for one in messages_of(rig.effects, Beat)[-1].conditions}
    assert "secret_refused" in kinds
