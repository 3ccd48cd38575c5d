"""Readers for the values of a site file: names, ranges of names, watts, shares, inputs."""

import re
from collections.abc import Mapping
from decimal import Decimal
from itertools import product
from typing import NamedTuple, cast

from wattline_protocol.http import limits
from wattline_protocol.site.model import Role
from wattline_protocol.site.wall_power import PERMILLE
from wattline_protocol.text import endpoints, windows
from wattline_protocol.text.names import check_name
from wattline_protocol.text.quantities import (
    MAX_POWER_MW,
    format_duration,
    format_size,
    parse_duration_s,
    parse_percent,
    parse_power_mw,
    parse_size_bytes,
)
from wattline_protocol.text.toml_fields import (
    Fields,
    Reader,
    choice,
    number,
    quantity,
    text,
    texts,
    whole,
)

MAX_SITE_NODES = 20_000
MAX_INPUTS = 8

_RANGE = re.compile(r"\[([0-9,-]+)\]")
_SPAN = re.compile(r"(\d{1,6})(?:-(\d{1,6}))?")


def name(value: object) -> str:
    """A name that is valid in paths."""
    return check_name(text(value))


def endpoint(value: object) -> str:
    """An endpoint that other hosts can connect to."""
    return endpoints.reachable_endpoint(text(value))


def http_address(value: object) -> str:
    """HOST:PORT."""
    return endpoints.http_address(text(value))


MAX_NETWORKS = 64
MAX_CONNECTIONS = 4_096

connections: Reader[int] = whole(1, MAX_CONNECTIONS)
"""HTTP connections of one client."""

MIN_PORT, MAX_PORT = 1_024, 65_535
MIN_PORTS = 16
"""Ports of a range for rendezvous: several gangs of a host draw from it."""

_PORTS = re.compile(r"(\d{1,5})-(\d{1,5})")


def ports(value: object) -> tuple[int, int]:
    """A range of ports, "FIRST-LAST"."""
    match = _PORTS.fullmatch(text(value))
    first, last = (int(match[1]), int(match[2])) if match else (0, 0)
    if not MIN_PORT <= first <= last - MIN_PORTS + 1 <= MAX_PORT - MIN_PORTS + 1:
        within = f"{MIN_PORT} to {MAX_PORT}"
        raise ValueError(f'expected {MIN_PORTS} ports or more of {within}, as in "20000-29999"')
    return first, last


fence_max: Reader[int] = whole(1, MAX_SITE_NODES)
"""Nodes that may be silent or fenced at once."""


def networks(value: object) -> tuple[str, ...]:
    """Networks, or single addresses: "10.0.0.0/8"."""
    given = texts(MAX_NETWORKS)(value)
    for one in given:
        try:
            limits.networks([one])
        except ValueError as error:
            raise ValueError(f'{error}; expected networks, as in "10.0.0.0/8"') from error
    return given


def shared_path(value: object) -> str:
    """A directory that every node mounts; "" for none."""
    path = text(value)
    if path and not path.startswith("/"):
        raise ValueError(
            'expected an absolute path that every node mounts, as in "/mnt/checkpoints"'
        )
    return path


def zone_name(value: object) -> str:
    """A name in the time zone database."""
    windows.time_zone(text(value))
    return text(value)


def file_path(value: object) -> str:
    """A file on the host of its program; "" for none."""
    path = text(value)
    if path and not path.startswith("/"):
        raise ValueError('expected an absolute path, as in "/etc/wattline/FILE"')
    return path


def permille(value: object) -> int:
    """0.8 or "80%" as 800."""
    share = parse_percent(value) if isinstance(value, str) else number(0, 1)(value)
    permille = Decimal(repr(share)) * PERMILLE
    if permille != permille.to_integral_value() or permille == 0:
        raise ValueError('expected a share such as 0.8 or "80%", above 0, in steps of 0.1 %')
    return int(permille)


def power(fields: Fields, key: str) -> int | None:
    """Milliwatts of `key` ("40kW") or of `key_w` (a number of watts); None: neither is given."""
    by_unit = fields.take(key, quantity(parse_power_mw), None)
    by_number = fields.take(f"{key}_w", _watts, None)
    if key in fields and f"{key}_w" in fields:
        fields.blame(f"{key} and {key}_w are alternatives; keep one", f"{key}_w")
    return by_number if by_unit is None else by_unit


def needed_power(fields: Fields, key: str) -> int:
    """As `power`, for a required value above 0."""
    power_mw = power(fields, key)
    is_given = key in fields or f"{key}_w" in fields
    if not is_given:
        fields.blame(f'{fields.name(key)} is missing, for example {key} = "40kW"', key)
    elif power_mw == 0:
        fields.blame(f"{fields.name(key)} must be above 0", key)
    return power_mw or 0


def _watts(value: object) -> int:
    watts = number(0, MAX_POWER_MW / 1000)(value)
    power_mw = Decimal(repr(watts)) * 1000
    if power_mw != power_mw.to_integral_value():
        raise ValueError("expected watts with at most three decimals")
    return int(power_mw)


def seconds(least: float, most: float) -> Reader[float]:
    """A duration in a range."""

    def read(value: object) -> float:
        duration_s = quantity(parse_duration_s)(value)
        if not least <= duration_s <= most:
            raise ValueError(f"expected from {format_duration(least)} to {format_duration(most)}")
        return duration_s

    return read


def roles_of(fields: Fields) -> dict[str, Role]:
    """The table [roles]; empty when it is absent."""
    none: dict[str, Role] = {}
    return fields.take("roles", _roles, none)


def _roles(value: object) -> dict[str, Role]:
    """Member → role, for users only: machines have the role they were enrolled with."""
    if not isinstance(value, Mapping):
        raise ValueError('expected a table such as { alice = "operator" }')
    read = choice("submitter", "operator", "admin")
    return {check_name(str(member)): cast("Role", read(role)) for member, role in value.items()}


class Input(NamedTuple):
    """One power input as written; without share and loss it counts in full."""

    domain: str
    share_permille: int | None = None
    when_lost: Mapping[str, int] = {}


def inputs(value: object) -> tuple[Input, ...]:
    """[{ domain = "pdu-a1" }], or plain names; more for redundant supplies, with shares."""
    wanted = 'expected power inputs such as [{ domain = "pdu-a1" }]'
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_INPUTS:
        raise ValueError(wanted)
    read = tuple(_input(item, wanted) for item in value)
    if len({one.domain for one in read}) < len(read):
        raise ValueError("a domain is listed twice")
    return read


def _input(item: object, wanted: str) -> Input:
    if isinstance(item, str):
        return Input(check_name(item))
    if not isinstance(item, Mapping) or not isinstance(item.get("domain"), str):
        raise ValueError(wanted)
    for key in item:
        if key not in ("domain", "share", "when_lost"):
            raise ValueError(f'unknown key "{key}"; known are domain, share and when_lost')
    share_permille = permille(item["share"]) if "share" in item else None
    return Input(check_name(item["domain"]), share_permille, _when_lost(item.get("when_lost", {})))


def _when_lost(value: object) -> dict[str, int]:
    """Domain → share of this input after its loss."""
    if not isinstance(value, Mapping):
        raise ValueError('expected when_lost as a table such as { "pdu-b1" = 1.0 }')
    return {check_name(str(domain)): permille(share) for domain, share in value.items()}


def node_names(value: object) -> tuple[str, ...]:
    """ "gpu-[001-016]" as its sixteen names; ranges keep leading zeros; several may be combined."""
    parts = _RANGE.split(text(value))
    # Odd parts were in brackets.
    choices = [_members(part) if at % 2 else (part,) for at, part in enumerate(parts)]
    count = 1
    for options in choices:
        count *= len(options)
    if count > MAX_SITE_NODES:
        raise ValueError(f"expands to {count} nodes; a site has at most {MAX_SITE_NODES}")
    return tuple(check_name("".join(combination)) for combination in product(*choices))


def _members(ranges: str) -> tuple[str, ...]:
    members: list[str] = []
    for span in ranges.split(","):
        match = _SPAN.fullmatch(span)
        first, last = (match[1], match[2] or match[1]) if match else ("", "")
        if match is None or int(last) < int(first) or len(members) > MAX_SITE_NODES:
            raise ValueError('expected ranges such as "gpu-[001-016]" or "gpu-[1-3,7]"')
        most = min(int(last), int(first) + MAX_SITE_NODES)
        members += (f"{index:0{len(first)}d}" for index in range(int(first), most + 1))
    return tuple(members)


def size_between(least: int, most: int) -> Reader[int]:
    """A size in a range of bytes."""

    def read(value: object) -> int:
        size_bytes = quantity(parse_size_bytes)(value)
        if not least <= size_bytes <= most:
            raise ValueError(f'expected "{format_size(least)}" to "{format_size(most)}"')
        return size_bytes

    return read


_KIB = 1024
job_size = size_between(4 * _KIB, 1024 * _KIB)
"""Of one job: below it ordinary ones would be refused, above it no message carries one."""

open_jobs_size = size_between(1024 * _KIB, 64 * _KIB**3)
"""Of all open jobs of a user."""

disk_reserve = size_between(0, _KIB**4)
"""0 = none."""
