"""The site file: TOML to a validated `Site`, with file and line for every error.

Order of work: each table is read separately; then names are resolved (an unknown name reports the
nearest one), trees are checked, and missing reserves are computed. `site_warnings` reports settings
that are valid and probably unintended.
"""

from typing import cast

from wattline_protocol.data.site_data import site_data
from wattline_protocol.ids import DomainId, NodeId
from wattline_protocol.job.spec import Recovery
from wattline_protocol.notify.site_notify import site_notify
from wattline_protocol.site import (
    abuse,
    accounts,
    budgets,
    out_of_band_keys,
    routes,
    run_as,
    sensing_keys,
    weights,
)
from wattline_protocol.site import values as v
from wattline_protocol.site.checks import Draft, NodeAt, check_names, check_shares, with_reserves
from wattline_protocol.site.containers import containers
from wattline_protocol.site.labels import labels
from wattline_protocol.site.model import (
    CONNECTIONS_PER_ADDRESS,
    DISK_RESERVE_BYTES,
    HOLD_S,
    KEYS_VALID_S,
    MAX_JOB_BYTES,
    OPEN_JOBS_BYTES_PER_USER,
    OPEN_JOBS_PER_USER,
    RENDEZVOUS_PORTS,
    Domain,
    DomainKind,
    Gateway,
    InputShare,
    LogReaders,
    Node,
    Site,
    Tariff,
    TerminalUsers,
    Timing,
)
from wattline_protocol.site.out_of_band import OutOfBand
from wattline_protocol.site.task_environment import pass_env
from wattline_protocol.site.wall_power import PERMILLE, wall_mw
from wattline_protocol.text.quantities import format_power
from wattline_protocol.text.toml_fields import (
    DocumentError,
    Fields,
    Problem,
    choice,
    flag,
    number,
    read_document,
)

DEFAULT_DERATE_PERMILLE = 800
"""Continuous load on a breaker: 80 % of its rating."""
DEFAULT_PSU_PERMILLE = 940

_NO_NAMES: tuple[str, ...] = ()
_NO_INPUTS: tuple[v.Input, ...] = ()
_NO_LABELS: dict[str, str] = {}


class SiteFileError(DocumentError):
    """A site file that cannot be used: each line states the place, the error and a valid value."""


def parse_site(text: str, source: str) -> Site:
    """The site in `text`; `source` names it in errors. Raises SiteFileError."""
    try:
        document = read_document(text, source)
    except DocumentError as error:
        raise SiteFileError(error.problems) from error
    problems: list[Problem] = []
    site = _site(Fields(document.table, problems), problems)
    if problems:
        problems.sort(key=lambda problem: document.line(problem))
        raise SiteFileError([document.located(problem) for problem in problems])
    return site


# --- Reading tables ---------------------------------------------------------------------


def _site(top: Fields, problems: list[Problem]) -> Site:
    head = top.table("site")
    drafts = [
        *(_domain(fields, "power", "rating") for fields in top.tables("power_domain")),
        *(_domain(fields, "cooling", "capacity") for fields in top.tables("cooling_zone")),
    ]
    switch = out_of_band_keys.out_of_band(top)
    nodes = [placed for fields in top.tables("node") for placed in _nodes(fields, switch)]
    tariff, services = _tariff(top.table("tariff")), accounts.services(top)
    schedules = [budgets.schedule(fields) for fields in top.tables("schedule")]
    site = Site(
        name=head.need("name", v.name, "site"),
        agent_endpoint=head.need("agent_endpoint", v.endpoint, ""),
        client_endpoint=head.need("client_endpoint", v.endpoint, ""),
        checkpoint_root=head.take("checkpoint_root", v.shared_path, ""),
        time_zone=head.take("time_zone", v.zone_name, "UTC"),
        open_jobs_per_user=head.take("open_jobs_per_user", accounts.open_jobs, OPEN_JOBS_PER_USER),
        max_job_bytes=head.take("max_job_size", v.job_size, MAX_JOB_BYTES),
        open_jobs_bytes_per_user=head.take(
            "open_jobs_size_per_user", v.open_jobs_size, OPEN_JOBS_BYTES_PER_USER
        ),
        disk_reserve_bytes=head.take("disk_reserve", v.disk_reserve, DISK_RESERVE_BYTES),
        rendezvous_ports=head.take("rendezvous_ports", v.ports, RENDEZVOUS_PORTS),
        logs=cast("LogReaders", head.take("logs", choice("owner", "everyone"), "owner")),
        terminals=cast(
            "TerminalUsers", head.take("terminals", choice("owner", "operators"), "owner")
        ),
        domains=tuple(draft.domain for draft in drafts),
        nodes=tuple(placed.node for placed in nodes),
        timing=_timing(top.table("timing")),
        tariff=tariff,
        gateways=tuple(_gateway(fields) for fields in top.tables("gateway")),
        schedules=budgets.resolved(schedules, {d.domain.id: d.domain for d in drafts}),
        webhooks=budgets.webhooks(top),
        http=budgets.http_api(top),
        notify=site_notify(top),
        roles=v.roles_of(top),
        weights=weights.weights(top),
        fair_share=accounts.fair_share(top),
        run_as=run_as.run_as(top),
        pass_env=pass_env(top),
        containers=containers(top),
        data=site_data(top),
        accounts=accounts.accounts(top, tariff),
        queues=accounts.queues(top, tariff),
        services=services,
        routes=routes.routes(top, services),
        abuse=abuse.abuse(top),
    )
    head.end()
    top.end()
    if site.agent_endpoint and site.agent_endpoint == site.client_endpoint:
        head.blame("agents and clients must have different endpoints", "client_endpoint")
    check_names(site, drafts, nodes, problems)
    if not problems:
        check_shares(site, nodes, problems)
        out_of_band_keys.check_switches(nodes, problems)
    return site if problems else with_reserves(site, drafts, problems)


def _domain(fields: Fields, kind: DomainKind, size_key: str) -> Draft:
    usual_permille = DEFAULT_DERATE_PERMILLE if kind == "power" else PERMILLE
    reserve_mw = v.power(fields, "foreign_reserve")
    domain = Domain(
        id=DomainId(fields.need("name", v.name, "")),
        kind=kind,
        parent=cast("DomainId | None", fields.take("parent", v.name, None)),
        rating_mw=v.needed_power(fields, size_key),
        derate_permille=fields.take("derate", v.permille, usual_permille),
        fixed_load_mw=v.power(fields, "fixed_load") or 0,
        transient_margin_mw=v.power(fields, "transient_margin") or 0,
        foreign_reserve_mw=reserve_mw or 0,
        meter=sensing_keys.meter(fields) if kind == "power" else None,
        plant=sensing_keys.plant(fields) if kind == "cooling" else None,
    )
    fields.end()
    return Draft(domain, reserve_mw, fields.path)


def _nodes(fields: Fields, switch: OutOfBand | None) -> list[NodeAt]:
    """The nodes of one block: one for each name in its range."""
    names = fields.need("name", v.node_names, _NO_NAMES)
    rack = fields.need("rack", v.name, "")
    inputs = fields.need("inputs", v.inputs, _NO_INPUTS)
    zone = fields.take("cooling_zone", v.name, None)
    psu_permille = fields.take("psu_efficiency", v.permille, DEFAULT_PSU_PERMILLE)
    non_gpu_mw = v.needed_power(fields, "non_gpu_worst")
    nameplate_mw = v.needed_power(fields, "nameplate")
    is_off = fields.take("off", flag, False)
    words = fields.take("labels", labels, _NO_LABELS)
    switch = out_of_band_keys.out_of_band(fields) or switch
    fields.end()
    if 0 < nameplate_mw < wall_mw(non_gpu_mw, psu_permille):
        fields.blame(
            "nameplate is below what non_gpu_worst draws at the wall "
            f"({format_power(wall_mw(non_gpu_mw, psu_permille))}); it is the node's maximum",
            "nameplate",
        )
    return [
        NodeAt(
            Node(
                id=NodeId(name),
                rack=rack,
                inputs=tuple(DomainId(one.domain) for one in inputs),
                shares=_shares(inputs),
                cooling_zone=None if zone is None else DomainId(zone),
                non_gpu_worst_mw=non_gpu_mw,
                psu_efficiency_permille=psu_permille,
                nameplate_mw=nameplate_mw,
                is_off=is_off,
                out_of_band=out_of_band_keys.of_node(switch, name),
                labels=words,
            ),
            fields.path,
        )
        for name in names
    ]


def _shares(inputs: tuple[v.Input, ...]) -> tuple[InputShare, ...]:
    """Empty where no input specifies a share: then the node counts in full in each."""
    if not any(one.share_permille or one.when_lost for one in inputs):
        return ()
    return tuple(
        InputShare(
            one.share_permille or PERMILLE,
            {DomainId(lost): share for lost, share in one.when_lost.items()},
        )
        for one in inputs
    )


LEAST_GRACE_S = Recovery().grace_s
"""Below a job's default grace period, every job without its own would be refused."""


def _timing(fields: Fields) -> Timing:
    take, usual = fields.take, Timing()
    isolation: str = take("isolation", choice("keep", "floor"), "keep")
    timing = Timing(
        beat_period_s=take("beat_period", v.seconds(0.1, 60), usual.beat_period_s),
        isolation_after_s=take("isolation_after", v.seconds(1, 3600), usual.isolation_after_s),
        isolation="floor" if isolation == "floor" else "keep",
        task_lease_s=take("task_lease", v.seconds(5, 86_400), usual.task_lease_s),
        emergency_grace_s=take("emergency_grace", v.seconds(0, 60), usual.emergency_grace_s),
        protected_run_s=take("protected_run", v.seconds(0, 86_400), usual.protected_run_s),
        overtake_s=take("overtake", v.seconds(0, 30 * 86_400), usual.overtake_s),
        max_grace_s=take("max_grace", v.seconds(LEAST_GRACE_S, 30 * 86_400), usual.max_grace_s),
        fence_after_s=take("fence_after", v.seconds(0, 86_400), usual.fence_after_s),
        fence_max=take("fence_max", v.fence_max, usual.fence_max),
    )
    fields.end()
    if timing.isolation_after_s < 2 * timing.beat_period_s:
        fields.blame("isolation_after must be at least two beat periods", "isolation_after")
    if timing.task_lease_s < timing.isolation_after_s:
        fields.blame("task_lease must be at least isolation_after", "task_lease")
    if 0 < timing.fence_after_s < timing.isolation_after_s:
        text = "fence_after must be 0s (never) or at least isolation_after"
        fields.blame(text, "fence_after")
    if timing.fence_max and not timing.fence_after_s:
        fields.blame("fence_max has no effect without fence_after", "fence_max")
    return timing


def _tariff(fields: Fields) -> Tariff:
    tariff = Tariff(
        usd_per_kwh=fields.take("usd_per_kwh", number(0, 1000), 0.0),
        usd_per_gpu_hour=fields.take("usd_per_gpu_hour", number(0, 100_000), 0.0),
    )
    fields.end()
    return tariff


def _gateway(fields: Fields) -> Gateway:
    gateway = Gateway(
        name=fields.need("name", v.name, ""),
        worker_endpoint=fields.need("worker_endpoint", v.endpoint, ""),
        http_address=fields.need("http_address", v.http_address, ""),
        trusted_proxies=fields.take("trusted_proxies", v.networks, _NO_NAMES),
        connections_per_address=fields.take(
            "connections_per_address", v.connections, CONNECTIONS_PER_ADDRESS
        ),
        hold_s=fields.take("hold", v.seconds(0, 60), HOLD_S),
        tls_cert=fields.take("tls_cert", v.file_path, ""),
        tls_key=fields.take("tls_key", v.file_path, ""),
        insecure=fields.take("insecure", flag, False),
        open=fields.take("open", flag, False),
        keys_valid_s=fields.take("keys_valid", v.seconds(1, 30 * 86_400), KEYS_VALID_S),
    )
    if bool(gateway.tls_cert) != bool(gateway.tls_key):
        fields.blame("tls_cert and tls_key belong together", "tls_cert")
    fields.end()
    return gateway
