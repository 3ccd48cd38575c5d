"""Keys of the site file about who pays: fair share, accounts and their tree."""

from typing import Any

from wattline_protocol import sitevalues as v
from wattline_protocol.fields import Fields, Reader, nearest, number
from wattline_protocol.quantities import format_duration
from wattline_protocol.site import Account, FairShare

MAX_ACCOUNTS = 1_000
MAX_DEPTH = 8
"""Accounts above each other."""

MIN_HALF_LIFE_S, MAX_HALF_LIFE_S = 60.0, 366 * 86_400.0
MAX_WEIGHT = 1_000_000.0

_weight = number(0, MAX_WEIGHT)


def _shares(value: object) -> float:
    shares = _weight(value)
    if shares == 0:
        raise ValueError("want more than 0")
    return shares


def fair_share(top: Fields) -> FairShare:
    """The table [fair_share]."""
    fields, usual = top.table("fair_share"), FairShare()
    half_life: Reader[float] = v.seconds(MIN_HALF_LIFE_S, MAX_HALF_LIFE_S)
    read = FairShare(
        half_life_s=fields.take("half_life", half_life, usual.half_life_s),
        gpu_hours=fields.take("gpu_hours", _weight, usual.gpu_hours),
        energy=fields.take("energy", _weight, usual.energy),
        shares=fields.take("shares", _shares, usual.shares),
    )
    fields.end()
    return read


def accounts(top: Fields) -> tuple[Account, ...]:
    """All tables [[account]]; reports names used twice or of nothing, and loops."""
    tables = top.tables("account")
    if len(tables) > MAX_ACCOUNTS:
        top.blame(f"{len(tables)} accounts, at most {MAX_ACCOUNTS}", "account")
    read = tuple(_account(fields) for fields in tables)
    parents = {account.name: account.parent for account in read}
    for at, (fields, account) in enumerate(zip(tables, read, strict=True)):
        if account.name and account.name in {other.name for other in read[:at]}:
            fields.blame(f"there is an account named {account.name} already", "name")
        elif account.parent is not None:
            _check_parent(fields, account, parents)
    return read


def _account(fields: Fields) -> Account:
    none: str | None = None
    account = Account(
        name=fields.need("name", v.name, ""),
        parent=fields.take("parent", v.name, none),
        shares=fields.take("shares", _shares, Account("").shares),
    )
    fields.end()
    return account


def _check_parent(fields: Fields, account: Account, parents: dict[str, str | None]) -> None:
    if account.parent not in parents:
        near = nearest(account.parent or "", parents)
        hint = f"the nearest is {near}" if near else f"there are {', '.join(parents)}"
        fields.blame(f"there is no account named {account.parent}; {hint}", "parent")
        return
    chain: list[str] = [account.name]
    above: str | None = account.parent
    while above is not None and above not in chain:
        chain.append(above)
        above = parents.get(above)
    if above == account.name:
        loop = " → ".join([*chain, above])
        fields.blame(f"{loop} is a loop; a tree has a top", "parent")
    elif len(chain) > MAX_DEPTH:
        fields.blame(f"{len(chain)} accounts above each other, at most {MAX_DEPTH}", "parent")


# --- as text ------------------------------------------------------------------------------


def fair_share_keys(rules: FairShare) -> dict[str, Any]:
    """The table that `fair_share` reads back."""
    return {
        "half_life": format_duration(rules.half_life_s),
        "gpu_hours": rules.gpu_hours,
        "energy": rules.energy,
        "shares": rules.shares,
    }


def account_keys(account: Account) -> dict[str, Any]:
    """The table that `accounts` reads back."""
    above = {} if account.parent is None else {"parent": account.parent}
    return {"name": account.name, **above, "shares": account.shares}
