"""The allow-list: who is on it, how it changes, and what lets nobody in."""

import errno
import os
import shutil
from pathlib import Path
from typing import get_args

import pytest

from wattline_protocol.site.model import Role
from wattline_protocol.trust.keys import JoinBundle, KeyFileError, load_bundle, load_keys
from wattline_protocol.trust.members import (
    AUTHORIZED,
    RECHECK_S,
    SCHEDULER_KEY,
    STRANGER_RECHECK_S,
    Authorized,
    Member,
    enroll,
    init_site_keys,
)


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s

    def pass_recheck(self) -> None:
        self.now_s += RECHECK_S


@pytest.fixture
def site(tmp_path: Path) -> Path:
    init_site_keys(tmp_path)
    return tmp_path


def enrolled(site: Path, name: str, role: Role = "submitter") -> JoinBundle:
    return enroll(
        site,
        name,
        role,
        site="lab",
        agent_endpoint="tcp://127.0.0.1:7701",
        client_endpoint="tcp://127.0.0.1:7702",
        bundle_path=site / f"{name}.bundle",
    )


def test_a_bundle_opens_the_site_it_was_made_for(site: Path) -> None:
    bundle = enrolled(site, "alice", "operator")
    assert load_bundle(site / "alice.bundle") == bundle
    assert bundle.scheduler_public_key == load_keys(site / SCHEDULER_KEY).public
    listed = Authorized(site / AUTHORIZED)
    assert listed.member(bundle.public_key) == Member("alice", "operator", bundle.public_key)
    assert listed.problems == ()
    assert bundle.secret_key not in (site / AUTHORIZED / "alice.toml").read_text()


@pytest.mark.parametrize("role", get_args(Role))
def test_every_role_can_be_enrolled(site: Path, role: Role) -> None:
    bundle = enrolled(site, "someone", role)
    member = Authorized(site / AUTHORIZED).member(bundle.public_key)
    assert member is not None
    assert member.role == role


def test_a_second_init_keeps_the_first_key(site: Path) -> None:
    before = load_keys(site / SCHEDULER_KEY)
    with pytest.raises(KeyFileError, match="never overwritten"):
        init_site_keys(site)
    assert load_keys(site / SCHEDULER_KEY) == before


def test_nobody_is_enrolled_twice(site: Path) -> None:
    enrolled(site, "alice")
    with pytest.raises(KeyFileError, match=r"already enrolled; .* remove"):
        enrolled(site, "alice")


def test_a_bundle_that_exists_stops_the_enrolment(site: Path) -> None:
    (site / "alice.bundle").write_text("precious")
    with pytest.raises(KeyFileError, match="never overwritten"):
        enrolled(site, "alice")
    assert not (site / AUTHORIZED / "alice.toml").exists()


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "a b", "x" * 65, "ä"])
def test_a_name_that_is_no_name_is_refused(site: Path, name: str) -> None:
    with pytest.raises(KeyFileError, match="not a valid name"):
        enrolled(site, name)


def test_an_unknown_role_is_told_with_the_roles_there_are(site: Path) -> None:
    with pytest.raises(KeyFileError, match="roles are agent, gateway"):
        enrolled(site, "alice", "root")  # type: ignore[arg-type] # what a user may type


def test_changes_are_seen_within_the_recheck_time(site: Path) -> None:
    clock = Clock()
    alice = enrolled(site, "alice")
    listed = Authorized(site / AUTHORIZED, clock=clock)
    bob = enrolled(site, "bob")
    (site / AUTHORIZED / "alice.toml").unlink()
    assert listed.member(bob.public_key) is None
    clock.pass_recheck()
    assert listed.member(bob.public_key) is not None
    assert listed.member(alice.public_key) is None
    assert [member.name for member in listed.members()] == ["bob"]


def test_a_key_enrolled_just_now_is_let_in_at_once(site: Path) -> None:
    clock = Clock()
    listed = Authorized(site / AUTHORIZED, clock=clock)
    bob = enrolled(site, "bob")
    clock.now_s += 2 * STRANGER_RECHECK_S
    assert listed.member(bob.public_key) is not None


def test_users_are_people_who_may_submit_also_one_enrolled_just_now(site: Path) -> None:
    clock = Clock()
    for role in get_args(Role):
        enrolled(site, f"some-{role}", role)
    listed = Authorized(site / AUTHORIZED, clock=clock)
    assert listed.users() == ("some-admin", "some-operator", "some-submitter")
    enrolled(site, "bob")
    clock.now_s += 2 * STRANGER_RECHECK_S
    assert listed.users() == ("bob", "some-admin", "some-operator", "some-submitter")


def test_an_edit_in_place_is_seen(site: Path) -> None:
    clock = Clock()
    alice = enrolled(site, "alice")
    listed = Authorized(site / AUTHORIZED, clock=clock)
    path = site / AUTHORIZED / "alice.toml"
    path.write_text(path.read_text().replace("submitter", "admin"))
    clock.pass_recheck()
    member = listed.member(alice.public_key)
    assert member is not None
    assert member.role == "admin"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("alice", "bob"), "the name inside is bob"),
        (("submitter", "worker"), "Invalid enum value 'worker'"),
        (("public_key", "publickey"), "unknown field"),
        (('"', "'''"), "alice.toml"),
        (("name", "name = 1 #"), "Expected `str`"),
    ],
)
def test_a_bad_file_lets_nobody_in_and_is_named(
    site: Path, change: tuple[str, str], said: str
) -> None:
    alice, carol = enrolled(site, "alice"), enrolled(site, "carol")
    path = site / AUTHORIZED / "alice.toml"
    path.write_text(path.read_text().replace(*change, 1))
    listed = Authorized(site / AUTHORIZED)
    assert listed.member(alice.public_key) is None
    assert listed.member(carol.public_key) is not None
    [problem] = listed.problems
    assert said in problem


def test_one_key_is_one_members(site: Path) -> None:
    alice = enrolled(site, "alice")
    text = (site / AUTHORIZED / "alice.toml").read_text().replace("alice", "bob")
    (site / AUTHORIZED / "bob.toml").write_text(text)
    listed = Authorized(site / AUTHORIZED)
    member = listed.member(alice.public_key)
    assert member is not None
    assert member.name == "alice"
    assert "its key is that of alice" in listed.problems[0]


def test_the_last_list_stays_while_no_descriptor_is_left(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_descriptor_is_left(path: Path, mode: str) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), str(path))

    clock = Clock()
    alice = enrolled(site, "alice")
    listed = Authorized(site / AUTHORIZED, clock=clock)
    bob = enrolled(site, "bob")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", no_descriptor_is_left)
        clock.pass_recheck()
        assert listed.member(alice.public_key) is not None
        assert "Too many open files; the last list stays in force" in listed.problems[0]
    clock.pass_recheck()
    assert [member.name for member in listed.members()] == ["alice", "bob"]
    assert listed.problems == ()
    assert listed.member(bob.public_key) is not None


def test_the_last_list_stays_when_the_directory_cannot_be_read(site: Path) -> None:
    clock = Clock()
    alice = enrolled(site, "alice")
    listed = Authorized(site / AUTHORIZED, clock=clock)
    shutil.move(site / AUTHORIZED, site / "away")
    clock.pass_recheck()
    assert listed.member(alice.public_key) is not None
    assert "the last list stays in force" in listed.problems[0]
    shutil.move(site / "away", site / AUTHORIZED)
    clock.pass_recheck()
    assert listed.member(alice.public_key) is not None
    assert listed.problems == ()


def test_a_missing_directory_at_the_start_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="cannot read"):
        Authorized(tmp_path / "none")


def test_the_site_file_moves_people_between_roles_but_not_machines(site: Path) -> None:
    alice, gpu = enrolled(site, "alice"), enrolled(site, "gpu-1", "agent")
    listed = Authorized(site / AUTHORIZED, roles={"alice": "operator", "gpu-1": "admin"})
    roles = {m.name: m.role for m in listed.members()}
    assert roles == {"alice": "operator", "gpu-1": "agent"}
    assert alice.public_key != gpu.public_key
