"""Site file keys for access to resources: accounts, queues, quotas, service names."""

from typing import Any, TypeVar, cast, get_args

from wattline_protocol.job.spec import PowerGoal
from wattline_protocol.job.values import priority
from wattline_protocol.site import values as v
from wattline_protocol.site.model import Account, FairShare, Queue, Quota, Service, Tariff
from wattline_protocol.text.names import check_name
from wattline_protocol.text.quantities import (
    format_cost,
    format_duration,
    format_energy,
    format_power,
    parse_cost_usd,
    parse_energy_wh,
)
from wattline_protocol.text.toml_fields import (
    Fields,
    Reader,
    above_zero,
    choice,
    flag,
    nearest,
    number,
    quantity,
    texts,
    whole,
)

Named = TypeVar("Named", Account, Queue, Service)

MAX_ACCOUNTS = 1_000
MAX_QUEUES = 1_000
MAX_SERVICES = 1_000
MAX_USERS = 1_000
MAX_QUOTA_GPUS = 1_000_000
MAX_QUOTA_OPEN_JOBS = 1_000_000_000
"""Open jobs on a site, each an array of the largest size."""
MAX_DEPTH = 8
"""Levels of nested accounts."""

MIN_HALF_LIFE_S, MAX_HALF_LIFE_S = 60.0, 366 * 86_400.0
MAX_RUNTIME_S = 366 * 86_400.0
MAX_WEIGHT = 1_000_000.0

_weight = number(0, MAX_WEIGHT)
_usual: int | None = None


def _shares(value: object) -> float:
    shares = _weight(value)
    if shares == 0:
        raise ValueError("must be above 0")
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
        own_accounts=fields.take("own_accounts", flag, usual.own_accounts),
    )
    fields.end()
    return read


def accounts(top: Fields, tariff: Tariff) -> tuple[Account, ...]:
    """All tables [[account]]; reports duplicate and unknown names, and loops."""
    tables = _tables(top, "account", MAX_ACCOUNTS)
    read = tuple(_account(fields, tariff) for fields in tables)
    parents = {account.name: account.parent for account in read}
    for fields, account in zip(tables, read, strict=True):
        if account.parent is not None:
            _check_parent(fields, account, parents)
    return _each_once(tables, read, "an account")


def _tables(top: Fields, key: str, most: int) -> list[Fields]:
    tables = top.tables(key)
    if len(tables) > most:
        top.blame(f"{len(tables)} {key}s, at most {most}", key)
    return tables


def _each_once(tables: list[Fields], read: tuple[Named, ...], what: str) -> tuple[Named, ...]:
    names = set[str]()
    for fields, one in zip(tables, read, strict=True):
        if one.name and one.name in names:
            fields.blame(f"{what} named {one.name} exists already", "name")
        names.add(one.name)
    return read


def _account(fields: Fields, tariff: Tariff) -> Account:
    none: str | None = None
    account = Account(
        name=fields.need("name", v.name, ""),
        parent=fields.take("parent", v.name, none),
        shares=fields.take("shares", _shares, Account("").shares),
        quota=_quota(fields, tariff),
        users=fields.take("users", user_names, ()),
        max_priority=fields.take("max_priority", priority, _usual),
    )
    fields.end()
    return account


def queues(top: Fields, tariff: Tariff) -> tuple[Queue, ...]:
    """All tables [[queue]]; reports duplicate names."""
    tables = _tables(top, "queue", MAX_QUEUES)
    return _each_once(tables, tuple(_queue(fields, tariff) for fields in tables), "a queue")


def _queue(fields: Fields, tariff: Tariff) -> Queue:
    queue = Queue(
        name=fields.need("name", v.name, ""),
        quota=_quota(fields, tariff),
        users=fields.take("users", user_names, ()),
        max_priority=fields.take("max_priority", priority, _usual),
        max_runtime_s=fields.take("max_runtime", v.seconds(60, MAX_RUNTIME_S), 0.0),
        goal=cast("PowerGoal", fields.take("goal", choice(*get_args(PowerGoal)), "")),
    )
    fields.end()
    return queue


def services(top: Fields) -> tuple[Service, ...]:
    """All tables [[service]]; reports duplicate names."""
    tables = _tables(top, "service", MAX_SERVICES)
    return _each_once(tables, tuple(_service(fields) for fields in tables), "a service")


def _service(fields: Fields) -> Service:
    service = Service(
        name=fields.need("name", v.name, ""),
        users=fields.need("users", user_names, ()),
    )
    fields.end()
    return service


def _quota(fields: Fields, tariff: Tariff) -> Quota:
    power_mw = v.power(fields, "power")
    quota = Quota(
        gpus=fields.take("gpus", whole(1, MAX_QUOTA_GPUS), 0),
        power_mw=power_mw or 0,
        energy_per_day_wh=fields.take("energy_per_day", _energy, 0.0),
        cost_per_month_usd=fields.take("cost_per_month", _cost, 0.0),
        open_jobs=fields.take("open_jobs", open_jobs, 0),
    )
    if power_mw == 0:
        fields.blame("power must be above 0; leave the key out for no limit", "power")
    if quota.cost_per_month_usd and tariff == Tariff():
        said = "cost_per_month cannot be enforced: there is no [tariff]"
        fields.blame(said, "cost_per_month")
    return quota


open_jobs: Reader[int] = whole(1, MAX_QUOTA_OPEN_JOBS)
"""Maximum of open jobs."""

_energy = above_zero(quantity(parse_energy_wh))
_cost = above_zero(quantity(parse_cost_usd))


def user_names(value: object) -> tuple[str, ...]:
    """Names of users."""
    return tuple(check_name(name) for name in texts(MAX_USERS)(value))


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
        fields.blame(f"{loop} is a loop", "parent")
    elif len(chain) > MAX_DEPTH:
        fields.blame(f"{len(chain)} levels of accounts, at most {MAX_DEPTH}", "parent")


# --- as text ------------------------------------------------------------------------------


def fair_share_keys(rules: FairShare) -> dict[str, Any]:
    """The table, for `fair_share`."""
    return {
        "half_life": format_duration(rules.half_life_s),
        "gpu_hours": rules.gpu_hours,
        "energy": rules.energy,
        "shares": rules.shares,
        "own_accounts": rules.own_accounts,
    }


def account_keys(account: Account) -> dict[str, Any]:
    """The table, for `accounts`."""
    above = {} if account.parent is None else {"parent": account.parent}
    return {"name": account.name, **above, "shares": account.shares, **_limits(account)}


def queue_keys(queue: Queue) -> dict[str, Any]:
    """The table, for `queues`."""
    keys = {"name": queue.name, **_limits(queue)}
    if queue.max_runtime_s:
        keys["max_runtime"] = format_duration(queue.max_runtime_s)
    if queue.goal:
        keys["goal"] = queue.goal
    return keys


def service_keys(service: Service) -> dict[str, Any]:
    """The table, for `services`."""
    return {"name": service.name, "users": list(service.users)}


def _limits(of: Account | Queue) -> dict[str, Any]:
    quota, keys = of.quota, dict[str, Any]()
    if quota.gpus:
        keys["gpus"] = quota.gpus
    if quota.power_mw:
        keys["power"] = format_power(quota.power_mw)
    if quota.energy_per_day_wh:
        keys["energy_per_day"] = format_energy(quota.energy_per_day_wh)
    if quota.cost_per_month_usd:
        keys["cost_per_month"] = format_cost(quota.cost_per_month_usd)
    if quota.open_jobs:
        keys["open_jobs"] = quota.open_jobs
    if of.users:
        keys["users"] = list(of.users)
    if of.max_priority is not None:
        keys["max_priority"] = of.max_priority
    return keys
