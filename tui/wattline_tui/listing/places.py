"""What can be gone to by name: modes, nodes, jobs, domains, services, users."""

from dataclasses import dataclass
from typing import Literal

from wattline_protocol.lists.glob import escaped
from wattline_protocol.lists.tokens import quoted
from wattline_tui.mode_names import MODE_NAMES
from wattline_tui.model import View
from wattline_tui.themes import THEMES


@dataclass(frozen=True, slots=True)
class Target:
    """One of them."""

    kind: Literal["mode", "node", "job", "domain", "service", "problem", "where", "theme"]
    key: str
    """Its name; a condition for `where`."""
    mode: str
    label: str
    note: str = ""


def targets(view: View) -> list[Target]:
    """All that the snapshot has, each name once."""
    found = [Target("mode", one.id, one.id, one.title, one.help) for one in MODE_NAMES]
    found += [Target("theme", name, "", f"theme {name}", "colours") for name in THEMES]
    site = view.site
    if site is None:
        return found
    found += [Target("node", one.id, "nodes", one.id, f"node, {one.state}") for one in site.nodes]
    found += [Target("domain", one.id, "power", one.id, one.kind) for one in site.domains]
    services = {one.name for one in site.jobs if one.kind == "service"}
    found += [Target("service", name, "services", name, "service") for name in sorted(services)]
    for user in sorted({one.owner for one in site.jobs}):
        where = f"user={quoted(escaped(user))}"
        found.append(Target("where", where, "jobs", user, "user: jobs"))
    found += [
        Target(
            "job", str(one.id), "jobs", f"{one.id} {one.name}", f"job of {one.owner}, {one.state}"
        )
        for one in reversed(site.jobs)
    ]
    return found
