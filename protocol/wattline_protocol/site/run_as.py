"""The accounts of the hosts that tasks run as: the table [run_as] of a site file."""

import re
from collections.abc import Mapping
from typing import Any, cast

from wattline_protocol.ids import UserName
from wattline_protocol.site.model import OthersRunAs, RunAs
from wattline_protocol.text.names import check_name
from wattline_protocol.text.toml_fields import Fields, choice, text
from wattline_protocol.text.wording import listed

MAX_RUN_AS = 10_000
"""Maximum of users in the table."""

ROOT = "root"

NO_TABLE = (
    "there is no [run_as]: a node whose keeper is root gets no task. Write "
    '`[run_as] others = "same"` for the account of each user\'s name, or '
    '`others = "keeper"` to let tasks run as root'
)
ALL_ROOT = (
    '[run_as] others = "keeper": where the keeper is root, tasks of users without an entry are '
    'root, and can undo the caps of GPUs; `others = "same"` runs them as their users'
)

"""Users named in one warning."""

ACCOUNT = re.compile(r"[A-Za-z_][A-Za-z0-9_.@-]{0,63}")


def account_of(rules: RunAs | None, user: str) -> str | None:
    """The host account for tasks of `user`; empty = the keeper's own, None = not assigned.

    A user named root does not run as root for that.
    """
    if rules is None:
        return ""
    named = rules.users.get(UserName(user))
    if named is not None:
        return named
    if rules.others == "keeper":
        return ""
    return user if rules.others == "same" and user != ROOT else None


def may_be_root(rules: RunAs | None) -> bool:
    """Whether any tasks may run as root, where keepers do."""
    return rules is not None and (rules.others == "keeper" or ROOT in rules.users.values())


def root_warnings(rules: RunAs | None) -> tuple[str, ...]:
    """What the table permits tasks as root, or that tasks cannot run for lack of a table."""
    if rules is None:
        return (NO_TABLE,)
    said = [ALL_ROOT] if rules.others == "keeper" else []
    if roots := sorted(user for user, account in rules.users.items() if account == ROOT):
        names = listed(roots)
        said.append(f"[run_as] users: tasks of {names} are root, and can undo the caps of GPUs")
    return tuple(said)


def run_as(top: Fields) -> RunAs | None:
    """The table; None = there is none."""
    is_there, fields = "run_as" in top, top.table("run_as")
    rules = RunAs(
        users=fields.take("users", _users, {}),
        others=cast(
            "OthersRunAs", fields.take("others", choice("same", "refuse", "keeper"), "refuse")
        ),
    )
    fields.end()
    return rules if is_there else None


def _users(value: object) -> dict[UserName, str]:
    if not isinstance(value, Mapping):
        raise ValueError('expected a table such as { ada = "ada", ci = "build" }')
    if len(value) > MAX_RUN_AS:
        raise ValueError(f"expected at most {MAX_RUN_AS} users")
    return {UserName(check_name(str(user))): _account(user, one) for user, one in value.items()}


def _account(user: str, value: object) -> str:
    name = text(value)
    if not ACCOUNT.fullmatch(name):
        raise ValueError(f"{user}: expected the name of an account on the hosts, not {name!r}")
    return name


def run_as_keys(rules: RunAs | None) -> dict[str, Any]:
    """The table, for `run_as`."""
    return {} if rules is None else {"others": rules.others, "users": dict(rules.users)}
