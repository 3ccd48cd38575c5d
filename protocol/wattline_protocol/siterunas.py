"""Which accounts of the hosts tasks run as: the table [run_as] of a site file."""

import re
from collections.abc import Mapping
from typing import Any, cast

from wattline_protocol.fields import Fields, choice, text
from wattline_protocol.ids import UserName
from wattline_protocol.names import check_name
from wattline_protocol.site import OthersRunAs, RunAs

MAX_RUN_AS = 10_000
"""Users that are named."""

ROOT = "root"

_ACCOUNT = re.compile(r"[A-Za-z_][A-Za-z0-9_.@-]{0,63}")


def account_of(rules: RunAs | None, user: str) -> str | None:
    """The account of the hosts that tasks of `user` run as; empty = the keeper's own, None = the
    site file has none for them.

    Nobody is root for being called so.
    """
    if rules is None:
        return ""
    named = rules.users.get(UserName(user))
    if named is not None:
        return named
    return user if rules.others == "same" and user != ROOT else None


def run_as(top: Fields) -> RunAs | None:
    """The table; None = there is none."""
    if "run_as" not in top:
        return None
    fields = top.table("run_as")
    rules = RunAs(
        users=fields.take("users", _users, {}),
        others=cast("OthersRunAs", fields.take("others", choice("same", "refuse"), "refuse")),
    )
    fields.end()
    return rules


def _users(value: object) -> dict[UserName, str]:
    if not isinstance(value, Mapping):
        raise ValueError('want a table such as { ada = "ada", ci = "build" }')
    if len(value) > MAX_RUN_AS:
        raise ValueError(f"want at most {MAX_RUN_AS} users")
    return {UserName(check_name(str(user))): _account(user, one) for user, one in value.items()}


def _account(user: str, value: object) -> str:
    name = text(value)
    if not _ACCOUNT.fullmatch(name):
        raise ValueError(f"{user}: want the name of an account on the hosts, not {name!r}")
    return name


def run_as_keys(rules: RunAs | None) -> dict[str, Any]:
    """The table that `run_as` reads back."""
    return {} if rules is None else {"others": rules.others, "users": dict(rules.users)}
