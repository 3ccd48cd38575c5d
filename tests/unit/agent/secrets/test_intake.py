"""Sealed values that arrive: what an enemy on the way can have a node store, which is nothing."""

from pathlib import Path

import pytest

from wattline_agent.secrets import intake
from wattline_agent.secrets.intake import FRESH_S, TIMES_FILE, Intake
from wattline_agent.secrets.secret_store import SecretStore
from wattline_protocol.data.secrets import DropSecret, StoreSecret
from wattline_protocol.trust.keys import KeyPair
from wattline_protocol.trust.sealed_secrets import SecretValue, seal
from wattline_protocol.wire.bounds import MAX_SERIAL

KEYS = KeyPair.generate()
START_S = 1_700_000_000.0


class Rig:
    """A node with a clock of its own."""

    def __init__(self, folder: Path) -> None:
        self.now_s = START_S
        self.folder = folder
        self.store = SecretStore(folder / "secrets")
        self.intake = self.started()

    def started(self) -> Intake:
        """As after a restart of the agent."""
        return Intake("n1", KEYS.secret, self.store, self.folder, lambda: self.now_s)

    def put(
        self, value: bytes = b"v1", *, ago_s: float = 0.0, user: str = "ada", node: str = "n1"
    ) -> StoreSecret:
        at_us = round((self.now_s - ago_s) * 1e6)
        sealed = seal(SecretValue(node, user, "wandb", at_us, value), KEYS.public)
        return StoreSecret(1, "ada", "wandb", sealed)

    def drop(self) -> str:
        return self.intake.carry_out(DropSecret(2, "ada", "wandb"))

    def value(self) -> bytes | None:
        """As a task would get it."""
        return self.store.read("ada", "wandb") if self.store.find().names else None


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def test_a_value_is_stored_replaced_and_removed(rig: Rig) -> None:
    assert rig.intake.carry_out(rig.put()) == ""
    assert rig.value() == b"v1"
    rig.now_s += 1
    assert rig.intake.carry_out(rig.put(b"v2")) == ""
    assert rig.value() == b"v2"
    rig.now_s += 1
    assert rig.drop() == ""
    assert rig.value() is None
    assert rig.drop() == "", "a repeat is no error"


def test_an_old_message_is_never_stored_again(rig: Rig) -> None:
    first = rig.put()
    assert rig.intake.carry_out(first) == ""
    assert rig.intake.carry_out(first) == "", "a repeat of the newest is done already"
    rig.now_s += 1
    second = rig.put(b"v2")
    assert rig.intake.carry_out(second) == ""
    rig.intake = rig.started()
    assert "a newer value" in rig.intake.carry_out(first), "nor after a restart"
    assert rig.value() == b"v2"
    rig.now_s += 1
    assert rig.drop() == ""
    assert "a newer value" in rig.intake.carry_out(second), "nor after its removal"
    assert rig.value() is None


def test_a_removal_counts_also_for_what_a_fast_clock_sealed(rig: Rig) -> None:
    ahead = rig.put(ago_s=-60.0)
    assert rig.intake.carry_out(ahead) == ""
    assert rig.drop() == ""
    rig.now_s += 30
    assert "a newer value" in rig.intake.carry_out(ahead)


@pytest.mark.parametrize("is_removed", [True, False])
def test_what_was_put_or_removed_with_the_clock_ahead_can_be_put_again_soon(
    rig: Rig, is_removed: bool
) -> None:
    stolen = rig.put(b"old")
    rig.now_s += 365 * 86_400.0
    assert (rig.drop() if is_removed else rig.intake.carry_out(rig.put())) == ""
    rig.now_s = START_S + 60.0
    soon = "a newer value was stored or removed here since; put it again in 10m"
    assert rig.intake.carry_out(rig.put(b"new")) == soon
    for at_s in (FRESH_S / 2, FRESH_S - 1.0):
        rig.now_s = START_S + at_s
        assert "a newer value" in rig.intake.carry_out(stolen), "while it is fresh"
    rig.intake = rig.started()
    rig.now_s = START_S + 61.0 + FRESH_S
    assert rig.intake.carry_out(rig.put(b"new")) == ""
    assert rig.value() == b"new"
    assert "sealed" in rig.intake.carry_out(stolen)


def test_a_removal_lowers_a_time_of_a_clock_ahead(rig: Rig) -> None:
    rig.now_s += 365 * 86_400.0
    assert rig.drop() == ""
    rig.now_s = START_S
    assert rig.drop() == ""
    rig.now_s += FRESH_S + 1.0
    assert rig.intake.carry_out(rig.put(b"new")) == ""


@pytest.mark.parametrize(("ago_s", "which"), [(FRESH_S + 5, "before"), (-FRESH_S - 5, "after")])
def test_a_node_that_never_had_it_refuses_what_was_sealed_long_ago_or_later(
    rig: Rig, ago_s: float, which: str
) -> None:
    error = rig.intake.carry_out(rig.put(ago_s=ago_s))
    assert error == f"sealed 10m5s {which} this node's time; compare the clocks, and put it again"
    assert rig.value() is None


@pytest.mark.parametrize("at_us", [0, MAX_SERIAL])
def test_a_time_that_is_ages_from_this_clock_is_refused_in_words(rig: Rig, at_us: int) -> None:
    """Whoever may put a secret chooses it; ten years are the most that a duration can be."""
    sealed = seal(SecretValue("n1", "ada", "wandb", at_us, b"v1"), KEYS.public)
    error = rig.intake.carry_out(StoreSecret(1, "ada", "wandb", sealed))
    assert error.startswith("sealed 3650d ")
    assert rig.value() is None


def test_a_value_for_another_node_or_user_is_refused(rig: Rig) -> None:
    for other in (rig.put(node="n2"), rig.put(user="eve")):
        assert rig.intake.carry_out(other) == "it was sealed for another node, user or entry"
    foreign = seal(SecretValue("n1", "ada", "wandb", 1, b"x"), KeyPair.generate().public)
    assert "not sealed for this node" in rig.intake.carry_out(
        StoreSecret(1, "ada", "wandb", foreign)
    )
    assert rig.value() is None


def test_no_error_has_anything_of_the_value(rig: Rig) -> None:
    (rig.folder / "secrets").mkdir(0o755)
    (rig.folder / "secrets").chmod(0o755)
    error = rig.intake.carry_out(rig.put(b"m4rker"))
    assert "chmod 700" in error
    assert "m4rker" not in error


def test_damaged_times_admit_nothing(rig: Rig) -> None:
    (rig.folder / TIMES_FILE).write_text("{")
    assert "is damaged" in rig.intake.carry_out(rig.put())
    assert "is damaged" in rig.drop()


def test_times_are_bounded_and_the_fresh_ones_are_kept(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "MAX_TIMES", 4)
    monkeypatch.setattr(intake, "MAX_OF_NODE", 2)
    for number in range(8):
        rig.now_s += FRESH_S / 3
        assert rig.intake.carry_out(DropSecret(1, "ada", f"e{number}")) == ""
    kept = (rig.folder / TIMES_FILE).read_text()
    assert [f"e{number}" for number in range(8) if f"/e{number}" in kept] == [
        "e4",
        "e5",
        "e6",
        "e7",
    ]
