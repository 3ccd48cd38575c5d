"""Consistency of a site: known names, valid trees, and budgets that leave headroom."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import msgspec

from wattline_protocol.ids import DomainId
from wattline_protocol.site.budgets import is_loopback
from wattline_protocol.site.model import Domain, DomainKind, Node, Site
from wattline_protocol.site.run_as import root_warnings
from wattline_protocol.site.values import MAX_SITE_NODES
from wattline_protocol.site.wall_power import PERMILLE, wall_mw
from wattline_protocol.text.quantities import format_power
from wattline_protocol.text.toml import KeyPath
from wattline_protocol.text.toml_fields import Problem, nearest

# --- Names and trees --------------------------------------------------------------------


class Draft(NamedTuple):
    """A domain as read; `reserve_mw` None: to be computed."""

    domain: Domain
    reserve_mw: int | None
    path: KeyPath


class NodeAt(NamedTuple):
    """A node and the block that declares it."""

    node: Node
    path: KeyPath


def check_names(
    site: Site, drafts: list[Draft], nodes: list[NodeAt], problems: list[Problem]
) -> None:
    """Report duplicate names, unknown names, and loops in the trees."""
    _check_unique([(d.domain.id, d.path) for d in drafts], "domain or zone", problems)
    _check_unique([(n.node.id, n.path) for n in nodes], "node", problems)
    gateways: list[tuple[str, KeyPath]] = [
        (g.name, ("gateway", at)) for at, g in enumerate(site.gateways)
    ]
    _check_unique(gateways, "gateway", problems)
    if len(nodes) > MAX_SITE_NODES:
        problems.append(Problem(("node",), f"{len(nodes)} nodes, at most {MAX_SITE_NODES}"))
    _check_references(drafts, nodes, problems)
    _check_trees(drafts, problems)


def _check_references(drafts: list[Draft], nodes: list[NodeAt], problems: list[Problem]) -> None:
    kinds = {draft.domain.id: draft.domain.kind for draft in drafts}
    for domain, _, path in drafts:
        if domain.parent is not None:
            _check_known(domain.parent, domain.kind, kinds, (*path, "parent"), problems)
    # One block of the file may declare many nodes: check each block once.
    blocks = {path: node for node, path in nodes}
    for path, node in blocks.items():
        zone = node.cooling_zone
        for name in (*node.inputs, *(lost for one in node.shares for lost in one.when_lost)):
            _check_known(name, "power", kinds, (*path, "inputs"), problems)
        if zone is not None:
            _check_known(zone, "cooling", kinds, (*path, "cooling_zone"), problems)


def _check_unique(named: list[tuple[str, KeyPath]], what: str, problems: list[Problem]) -> None:
    seen: set[str] = set()
    for name, path in named:
        if name and name in seen:
            problems.append(Problem((*path, "name"), f"a {what} named {name} exists already"))
        seen.add(name)


_WORDS: dict[DomainKind, str] = {"power": "power domain", "cooling": "cooling zone"}


def _check_known(
    name: DomainId,
    kind: DomainKind,
    kinds: Mapping[DomainId, DomainKind],
    path: KeyPath,
    problems: list[Problem],
) -> None:
    if kinds.get(name) == kind:
        return
    if name in kinds:
        said = f"{name} is a {_WORDS[kinds[name]]}; expected a {_WORDS[kind]}"
    else:
        same_kind = [other for other in kinds if kinds[other] == kind]
        near = nearest(name, same_kind)
        hint = f"the nearest is {near}" if near else f"there are {', '.join(same_kind) or 'none'}"
        said = f"there is no {_WORDS[kind]} named {name}; {hint}"
    problems.append(Problem(path, said))


def _check_trees(drafts: list[Draft], problems: list[Problem]) -> None:
    parents = {draft.domain.id: draft.domain.parent for draft in drafts}
    reported: set[DomainId] = set()
    for domain, _, path in drafts:
        chain: list[DomainId] = []
        at: DomainId | None = domain.id
        while at is not None and at not in chain:
            chain.append(at)
            at = parents.get(at)
        if at == domain.id and reported.isdisjoint(chain):
            reported.update(chain)
            loop = " → ".join([*chain, domain.id])
            problems.append(Problem((*path, "parent"), f"{loop} is a loop"))


def check_shares(site: Site, nodes: list[NodeAt], problems: list[Problem]) -> None:
    """Report shares that leave part of a node's watts uncounted, or name an unknown loss."""
    chains = site.chains()
    blocks = {path: node for node, path in nodes if node.shares}
    for path, node in blocks.items():
        said = _share_problems(node, chains)
        problems.extend(Problem((*path, "inputs"), text) for text in said)


def _share_problems(node: Node, chains: Mapping[DomainId, tuple[DomainId, ...]]) -> Iterator[str]:
    shared = list(zip(node.inputs, node.shares, strict=True))
    if sum(share.share_permille for _, share in shared) < PERMILLE:
        yield "the shares add up to less than 1: some of the node's watts would not count"
    for name, share in shared:
        for lost, permille in share.when_lost.items():
            others = [other for other in node.inputs if lost in chains[other] and other != name]
            if lost in chains[name] or not others:
                yield (
                    f"{name} cannot take over when {lost} is lost: expected a domain at or above "
                    "another input of the node, and not above this one"
                )
            if permille < share.share_permille:
                yield f"{name} carries less when {lost} is lost than before; it must carry more"
    for lost in dict.fromkeys(domain for name in node.inputs for domain in chains[name]):
        gone = [name for name in node.inputs if lost in chains[name]]
        left = sum(share.after(lost, gone) for name, share in shared if name not in gone)
        if len(gone) < len(shared) and left < PERMILLE:
            yield f"when {lost} is lost the shares of the other inputs add up to less than 1"


def with_reserves(site: Site, drafts: list[Draft], problems: list[Problem]) -> Site:
    """Compute foreign reserves that were not given, and check that budgets leave headroom."""
    below = nodes_below(site)
    domains: list[Domain] = []
    for draft in drafts:
        nodes = below[draft.domain.id]
        reserve_mw = largest_jump_mw(nodes) if draft.reserve_mw is None else draft.reserve_mw
        domain = msgspec.structs.replace(draft.domain, foreign_reserve_mw=reserve_mw)
        domains.append(domain)
        reserved_mw = domain.fixed_load_mw + domain.transient_margin_mw + reserve_mw
        if nodes and reserved_mw >= domain.budget_mw:
            advice = "" if draft.reserve_mw is not None else _RESERVE_ADVICE
            said = (
                f"no task could run in {domain.id}: fixed_load + transient_margin + "
                f"foreign_reserve ({format_power(reserved_mw)}) take up its whole budget "
                f"({format_power(domain.budget_mw)}){advice}"
            )
            problems.append(Problem(draft.path, said))
    return msgspec.structs.replace(site, domains=tuple(domains))


_RESERVE_ADVICE = "; foreign_reserve defaults to the largest jump of one node"


FOREIGN_JUMP_PERMILLE = 300
"""GPUs without a task are capped at their minimum, which is at most this share of the maximum on
A100, H100, H200, L40S and B200 (20-29 %); cards with a higher minimum need their own value."""


def largest_jump_mw(nodes: list[Node]) -> int:
    """Most watts by which foreign draw on one of `nodes` can exceed its committed watts.

    All GPUs of one node from nothing to the minimum cap, by the largest node's nameplate.
    """
    return max((_gpu_part_mw(node) * FOREIGN_JUMP_PERMILLE // 1000 for node in nodes), default=0)


def _gpu_part_mw(node: Node) -> int:
    without_mw = wall_mw(node.non_gpu_worst_mw, node.psu_efficiency_permille)
    return max(0, node.nameplate_mw - without_mw)


def nodes_below(site: Site) -> dict[DomainId, list[Node]]:
    """For each domain and zone, the nodes it counts."""
    parents = {domain.id: domain.parent for domain in site.domains}
    below: dict[DomainId, list[Node]] = {domain.id: [] for domain in site.domains}
    for node in site.nodes:
        counted: set[DomainId] = set()
        for leaf in (*node.inputs, node.cooling_zone):
            at = leaf
            while at is not None and at not in counted:
                counted.add(at)
                below[at].append(node)
                at = parents[at]
    return below


def site_warnings(site: Site) -> tuple[str, ...]:
    """Valid settings in `site` that are probably unintended."""
    below = nodes_below(site)
    budgets = {domain.id: domain.budget_mw for domain in site.domains}
    said: list[str] = list(root_warnings(site.run_as))
    if site.http is not None and not is_loopback(site.http.listen):
        said.append(
            f"http.listen = {site.http.listen} is reachable from other hosts without encryption: "
            "the token can be read in transit; listen on 127.0.0.1 behind a TLS proxy"
        )
    for schedule in site.schedules:
        domain = next(d for d in site.domains if d.id == schedule.domain)
        reserved_mw = domain.fixed_load_mw + domain.transient_margin_mw + domain.foreign_reserve_mw
        if schedule.limit_mw <= reserved_mw:
            said.append(
                f"while {schedule.when[0]} limits {domain.id} to "
                f"{format_power(schedule.limit_mw)} nothing can run there: "
                f"{format_power(reserved_mw)} are reserved"
            )
    for domain in site.domains:
        nodes = below[domain.id]
        if not nodes:
            said.append(f"{domain.id} has no node")
        if domain.parent is not None and domain.budget_mw > budgets[domain.parent]:
            said.append(
                f"{domain.id} has a larger budget ({format_power(domain.budget_mw)}) than "
                f"{domain.parent} above it ({format_power(budgets[domain.parent])})"
            )
        fallback_mw = None if domain.meter is None else domain.meter.fallback_mw
        if fallback_mw is not None and fallback_mw >= domain.budget_mw:
            said.append(
                f"the fallback_budget of {domain.id} ({format_power(fallback_mw)}) is not below "
                f"its budget ({format_power(domain.budget_mw)}): it has no effect"
            )
        lone = next((n for n in nodes if n.nameplate_mw > domain.budget_mw), None)
        if lone is not None:
            said.append(
                f"{lone.id} alone may draw more ({format_power(lone.nameplate_mw)}) than the "
                f"budget of {domain.id} ({format_power(domain.budget_mw)}): nothing starts there "
                "until its agent has reported"
            )
    return tuple(said)
