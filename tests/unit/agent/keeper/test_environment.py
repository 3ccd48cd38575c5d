"""What a task sees of the environment that its keeper was started with."""

import os

import pytest

from wattline_agent.keeper import environment
from wattline_agent.keeper.environment import USUAL, own_account, personal_of, select

PASSWD = "root:x:0:0:root:/root:/bin/bash\nada:x:1000:1000::/data/ada:\nbad line\n"


def test_names_are_whole_and_a_star_stands_for_the_rest() -> None:
    environ = {"NCCL_DEBUG": "1", "NCCL": "2", "HTTP_PROXY": "3", "HTTP_PROXY_2": "4"}
    assert select(environ, ("NCCL_*", "HTTP_PROXY")) == {"NCCL_DEBUG": "1", "HTTP_PROXY": "3"}
    assert select(environ, ()) == {}


def test_no_pattern_names_who_the_keeper_is_or_what_is_wattlines_own() -> None:
    environ = {
        "HOME": "/root",
        "XDG_RUNTIME_DIR": "/x",
        "STATE_DIRECTORY": "/x",
        "WATTLINE_BUNDLE": "/x",
        "WORKERS": "4",
        "LC_ALL": "C",
    }
    assert select(environ, (*USUAL, "H*", "X*", "S*", "W*")) == {"WORKERS": "4", "LC_ALL": "C"}


def test_an_account_is_as_the_host_has_it() -> None:
    found = personal_of(1000, PASSWD, {"HOME": "/elsewhere"})
    assert found == {"HOME": "/data/ada", "USER": "ada", "LOGNAME": "ada", "SHELL": "/bin/sh"}


def test_one_that_the_host_does_not_have_is_as_its_environment_says() -> None:
    assert personal_of(7, PASSWD, {"HOME": "/srv", "TERM": "x"}) == {"HOME": "/srv"}
    assert personal_of(7, "", {}) == {}


@pytest.mark.parametrize(
    ("uid", "user", "account"),
    [(0, "toor", "root"), (1000, "ada", "ada"), (1000, "root", "1000"), (1000, "", "1000")],
)
def test_only_root_is_called_root(
    uid: int, user: str, account: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    monkeypatch.setattr(environment, "own_variables", lambda: {"USER": user} if user else {})
    assert own_account() == account
