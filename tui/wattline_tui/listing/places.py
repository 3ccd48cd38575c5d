"""What can be gone to by name: modes, nodes, jobs, domains, services, users."""

from dataclasses import dataclass
from typing import Literal

from wattline_protocol.ids import NodeId
from wattline_protocol.lists.glob import escaped
from wattline_protocol.lists.tokens import quoted
from wattline_protocol.views.site_views import JobView, NodeView
from wattline_tui.mode_names import MODE_NAMES
from wattline_tui.model import View
from wattline_tui.themes import THEMES


@dataclass(frozen=True, slots=True)
class Target:
    """One of them."""

    kind: Literal["mode", "node", "GPU", "job", "domain", "service", "problem", "where", "theme"]
    key: str
    """Its name; a condition for `where`."""
    mode: str
    label: str
    note: str = ""
    name: str = ""
    """What people call it, where that is neither its key nor its label; empty: it is one."""


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
    found += [_job(one) for one in reversed(site.jobs)]
    return found


def _job(one: JobView) -> Target:
    note = f"job of {one.owner}, {one.state}"
    return Target("job", str(one.id), "jobs", f"{one.id} {one.name}", note, one.name)


def gpu_target(text: str, view: View) -> Target | None:
    """A GPU by its node and its index, `gpu-01/3`; None: there is none."""
    name, _, index = text.rpartition("/")
    node = view.node(NodeId(name))
    if node is None or index not in gpu_indices(node):
        return None
    return Target("GPU", text, "nodes", text)


def gpu_indices(node: NodeView) -> list[str]:
    """Of its GPUs, also where the picture has only their number."""
    return [str(gpu.index) for gpu in node.gpus] or [str(at) for at in range(node.gpu_count)]


def gpu_of(subject: str, node: NodeId) -> str:
    """The index of the GPU that a problem of a node is about; empty: it is about none."""
    index = subject.removeprefix(f"{node} GPU ")
    return index if index.isdecimal() else ""
