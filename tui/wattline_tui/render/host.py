"""The host of a node in a line or two: processors, memory, disk and network, each with a bar."""

from wattline_protocol.views.host_view import HostView
from wattline_protocol.views.site_views import NodeView
from wattline_tui.render.blocks import filled
from wattline_tui.render.lines import Line, Role, line, width_of

BAR_CELLS = 6
HIGH = 0.9
"""From this share on it is marked."""
NOT_REPORTED = "not reported"
GAP = 3

Part = tuple[str, float | None, str]
"""Name, share 0..1 (None = not known), figures."""


def host_parts(host: HostView) -> list[Part]:
    """What is measured."""
    link = host.load.link if host.load is not None else None
    parts: list[Part] = [
        ("CPU", host.cpu_share, host.cpu_text),
        ("memory", host.memory_share, host.memory_text),
        ("disk", host.disk_share, host.disk_text),
        ("" if link is None else link.name, host.link_share, host.link_rates),
    ]
    return [one for one in parts if one[2]]


def host_lines(node: NodeView, width: int) -> list[Line]:
    """As many parts a line as fit."""
    if node.host is None:
        return [(("host ", "title"), (NOT_REPORTED, "muted"))]
    lines: list[Line] = []
    for pieces in map(_pieces, host_parts(node.host)):
        if lines and width_of(lines[-1]) + GAP + width_of(pieces) <= width:
            lines[-1] = (*lines[-1], (" " * GAP, ""), *pieces)
        else:
            lines.append(pieces)
    return lines


def _pieces(part: Part) -> Line:
    name, share, text = part
    if share is None:
        return line((f"{name} ", "title"), text)
    role: Role = "alarm" if share >= HIGH else "measured"
    return line((f"{name} ", "title"), (filled(share, BAR_CELLS), role), f" {text}")
