"""Site file keys for out-of-band power control of hosts.

A table may apply to many nodes: `{node}` in its texts is replaced by the name of each. Two nodes
with the same switch are refused: an action on one would affect the other.
"""

from collections.abc import Iterator
from typing import Any

import msgspec

from wattline_protocol.site import values as v
from wattline_protocol.site.checks import NodeAt
from wattline_protocol.site.out_of_band import (
    MAX_OFF_TIMEOUT_S,
    USUAL_OFF_TIMEOUT_S,
    OffByCommand,
    OffByRedfish,
    OutOfBand,
)
from wattline_protocol.site.sensing_keys import MAX_ARGUMENTS, NO_ARGUMENTS, read_access, read_url
from wattline_protocol.site.sensing_text import access_keys
from wattline_protocol.text.quantities import format_duration
from wattline_protocol.text.toml_fields import Fields, Problem, flag, texts

KEY = "out_of_band"
NAME = "{node}"
"""Placeholder for the name of each node."""


def out_of_band(parent: Fields) -> OutOfBand | None:
    """The table `out_of_band` of a node or of the site; None when it is absent."""
    is_there = KEY in parent
    fields = parent.table(KEY)
    if not is_there:
        return None
    method = _method(fields)
    timeout_s = fields.take("timeout", v.seconds(1, MAX_OFF_TIMEOUT_S), USUAL_OFF_TIMEOUT_S)
    is_automatic = fields.take("automatic", flag, True)
    fields.end()
    if method is None:
        return None
    read = OutOfBand(method, timeout_s, is_automatic)
    if not read.can_switch_off and is_automatic and "automatic" in fields:
        fields.blame("automatic requires off_command: nothing else can switch it off", "automatic")
    return read


def _method(fields: Fields) -> OffByCommand | OffByRedfish | None:
    status = fields.take("status_command", texts(MAX_ARGUMENTS), NO_ARGUMENTS)
    off = fields.take("off_command", texts(MAX_ARGUMENTS), NO_ARGUMENTS)
    redfish = fields.take("redfish", read_url, "")
    access = read_access(fields, redfish)
    by_command = "status_command" in fields or "off_command" in fields
    if by_command == ("redfish" in fields):
        fields.blame("expected either status_command (and off_command) or redfish")
        return None
    if by_command:
        return _by_command(fields, status, off)
    return OffByRedfish(redfish, access) if redfish else None


def _by_command(
    fields: Fields, status: tuple[str, ...], off: tuple[str, ...]
) -> OffByCommand | None:
    for key in ("user", "secret_file", "ca_file"):
        if key in fields:
            fields.blame(f"{key} applies to redfish, not to a command", key)
    if "status_command" not in fields:
        fields.blame("off_command requires status_command: off must be confirmed", "off_command")
    return OffByCommand(status, off) if status else None


def of_node(template: OutOfBand | None, node: str) -> OutOfBand | None:
    """The same with the node's name inserted."""
    if template is None:
        return None
    method = template.method
    named: OffByCommand | OffByRedfish
    if isinstance(method, OffByCommand):
        named = OffByCommand(_named(method.status, node), _named(method.off, node))
    else:
        access = msgspec.structs.replace(
            method.access,
            user=method.access.user.replace(NAME, node),
            secret_file=method.access.secret_file.replace(NAME, node),
            ca_file=method.access.ca_file.replace(NAME, node),
        )
        named = OffByRedfish(method.url.replace(NAME, node), access)
    return msgspec.structs.replace(template, method=named)


def _named(argv: tuple[str, ...], node: str) -> tuple[str, ...]:
    return tuple(part.replace(NAME, node) for part in argv)


def check_switches(nodes: list[NodeAt], problems: list[Problem]) -> None:
    """Report nodes that share a switch with another one."""
    first: dict[object, str] = {}
    reported: set[object] = set()
    for node, path in nodes:
        for switch in _switches(node.out_of_band):
            other = first.setdefault(switch, node.id)
            if other != node.id and path not in reported:
                reported.add(path)
                said = (
                    f"{node.id} and {other} address the same switch; put {NAME} where the "
                    "names differ, or give each node its own table"
                )
                problems.append(Problem((*path, KEY), said))


def _switches(declared: OutOfBand | None) -> Iterator[object]:
    if declared is None:
        return
    match declared.method:
        case OffByCommand(status=status, off=off):
            yield "status", status
            if off:
                yield "off", off
        case OffByRedfish(url=url):
            yield "redfish", url.rstrip("/")


def out_of_band_keys(declared: OutOfBand) -> dict[str, Any]:
    """The table in the form of a site file."""
    match declared.method:
        case OffByCommand(status=status, off=off):
            written: dict[str, Any] = {"status_command": list(status)}
            if off:
                written["off_command"] = list(off)
        case OffByRedfish(url=url, access=access):
            written = {"redfish": url} | access_keys(access)
    written["timeout"] = format_duration(declared.timeout_s)
    if declared.can_switch_off or not declared.is_automatic:
        written["automatic"] = declared.is_automatic
    return written
