"""As whom the first admin's tasks run, by who makes the site."""

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from wattline.acts import run_as
from wattline.acts.run_as import BY_HAND, JOB_ACCOUNT, chosen
from wattline.acts.site import init
from wattline.demo import runs_as
from wattline.failures import ActFailed
from wattline_protocol.ids import UserName
from wattline_protocol.site.file import parse_site
from wattline_protocol.site.model import RunAs


class Host:
    """Its accounts, and the programs that make some."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, uid: int, *names: str) -> None:
        self.names, self.programs, self.said = set(names), set[str](), list[tuple[str, ...]]()
        own = names[0] if names else ""
        monkeypatch.setattr(os, "geteuid", lambda: uid)
        monkeypatch.setattr(run_as, "account_name", lambda _: own)
        monkeypatch.setattr(run_as, "exists", self.names.__contains__)
        monkeypatch.setattr("shutil.which", lambda name: name if name in self.programs else None)
        monkeypatch.setattr(subprocess, "run", self._run)

    def _run(self, command: tuple[str, ...], **_: Any) -> subprocess.CompletedProcess[str]:
        self.said.append(command)
        if command[0] == "useradd":
            return subprocess.CompletedProcess(command, 1, "", "cannot lock /etc/passwd")
        self.names.add(JOB_ACCOUNT)
        return subprocess.CompletedProcess(command, 0, "", "")


def test_anybodys_tasks_run_as_who_made_the_site(monkeypatch: pytest.MonkeyPatch) -> None:
    Host(monkeypatch, 1000, "ada")
    assert chosen(None, "admin") == ("ada", ())


def test_roots_run_as_the_account_of_jobs_and_how_to_allow_root_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Host(monkeypatch, 0, "root", JOB_ACCOUNT)
    account, notes = chosen(None, "boss")
    assert account == JOB_ACCOUNT
    assert 'users = { boss = "root" } in [run_as]' in notes[-1]


def test_so_do_those_of_the_schedulers_account(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host(monkeypatch, 998, "wattline")
    host.programs = {"systemd-sysusers"}
    account, notes = chosen(None, "admin")
    assert (account, host.said) == (JOB_ACCOUNT, [])
    assert "only root can create it" in notes[0]


def test_that_account_is_made_by_the_program_that_can(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host(monkeypatch, 0, "root")
    host.programs = {"useradd", "systemd-sysusers"}
    account, notes = chosen(None, "admin")
    assert account == JOB_ACCOUNT
    assert notes[0].startswith(f"Created the system account {JOB_ACCOUNT}")
    assert [command[0] for command in host.said] == ["useradd", "systemd-sysusers"]


@pytest.mark.parametrize(
    ("programs", "why"),
    [(set(), "none of useradd"), ({"useradd"}, "useradd exited with 1: cannot lock /etc/passwd")],
)
def test_where_none_can_it_is_never_root_instead(
    programs: set[str], why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Host(monkeypatch, 0, "root").programs = programs
    account, notes = chosen(None, "admin")
    assert account == JOB_ACCOUNT
    assert why in notes[0]
    assert notes[0].endswith(f"no task of the admin starts here: {BY_HAND}")


def test_a_user_without_a_name_gets_no_table(monkeypatch: pytest.MonkeyPatch) -> None:
    Host(monkeypatch, 1234)
    account, notes = chosen(None, "admin")
    assert (account, len(notes)) == ("", 1)


def test_what_is_asked_for_counts() -> None:
    assert chosen("ada.l", "admin") == ("ada.l", ())
    account, (warning,) = chosen("root", "admin")
    assert account == "root"
    assert "can undo the caps" in warning
    with pytest.raises(ActFailed, match="is not a name of an account"):
        chosen("a b", "admin")


def test_the_site_file_says_it(tmp_path: Path) -> None:
    made = init(
        directory=str(tmp_path / "site"),
        name="lab",
        host="127.0.0.1",
        port=7410,
        nodes=("n1",),
        admin="boss",
        run_as="ada.l",
    )
    assert (made.admin, made.admin_runs_as) == ("boss", "ada.l")
    site = parse_site(Path(made.site_file).read_text(), "site.toml")
    assert site.run_as == RunAs({UserName("boss"): "ada.l"}, "same")


def test_the_demo_of_anybody_but_root_runs_as_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(runs_as, "account_name", lambda _: "ada")
    assert runs_as.choose(tmp_path, "ops").table == 'users = { ops = "ada" }'


def test_the_demo_of_root_says_so_where_its_tasks_must_be_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(runs_as, "_unable", lambda account, _: f"{account.pw_name}: closed")
    found = runs_as.choose(tmp_path, "ops")
    assert found.table == 'users = { ops = "root" }'
    assert found.text.startswith("Tasks run as root: no other account can run")
    monkeypatch.setattr(runs_as, "_unable", lambda *_: "")
    assert runs_as.choose(tmp_path, "ops").account in runs_as.CANDIDATES
