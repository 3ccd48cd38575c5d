"""Sites as text: formats a `Site` as a site file, and the template of a new one."""

from collections.abc import Mapping
from typing import Any

from wattline_protocol.data.site_data import site_data_keys
from wattline_protocol.notify.site_notify import site_notify_keys
from wattline_protocol.site.abuse import abuse_keys
from wattline_protocol.site.accounts import account_keys, fair_share_keys, queue_keys, service_keys
from wattline_protocol.site.containers import containers_keys
from wattline_protocol.site.model import (
    Domain,
    Gateway,
    HttpApi,
    Node,
    Schedule,
    Site,
    Timing,
    Webhook,
)
from wattline_protocol.site.out_of_band_keys import out_of_band_keys
from wattline_protocol.site.routes import site_route_table
from wattline_protocol.site.run_as import run_as_keys
from wattline_protocol.site.sensing_text import meter_keys, plant_keys
from wattline_protocol.site.task_environment import tasks_keys
from wattline_protocol.site.wall_power import PERMILLE
from wattline_protocol.site.weights import weight_keys
from wattline_protocol.text.quantities import format_duration, format_power, format_size
from wattline_protocol.text.toml import document_text, quoted


def format_site(site: Site) -> str:
    """`site` as a site file from which `parse_site` reads the same value."""
    head = {
        "name": site.name,
        "agent_endpoint": site.agent_endpoint,
        "client_endpoint": site.client_endpoint,
        "checkpoint_root": site.checkpoint_root,
        "time_zone": site.time_zone,
        "open_jobs_per_user": site.open_jobs_per_user,
        "max_job_size": format_size(site.max_job_bytes),
        "open_jobs_size_per_user": format_size(site.open_jobs_bytes_per_user),
        "disk_reserve": format_size(site.disk_reserve_bytes),
        "rendezvous_ports": "{}-{}".format(*site.rendezvous_ports),
        "logs": site.logs,
        "terminals": site.terminals,
    }
    document: dict[str, Any] = {
        "site": head,
        "timing": _timing(site.timing),
        "tariff": {
            "usd_per_kwh": site.tariff.usd_per_kwh,
            "usd_per_gpu_hour": site.tariff.usd_per_gpu_hour,
        },
        "weights": weight_keys(site.weights),
        "fair_share": fair_share_keys(site.fair_share),
        "run_as": run_as_keys(site.run_as),
        "tasks": tasks_keys(site.pass_env),
        "containers": containers_keys(site.containers),
        "data": site_data_keys(site.data),
        "account": [account_keys(account) for account in site.accounts],
        "queue": [queue_keys(queue) for queue in site.queues],
        "abuse": abuse_keys(site.abuse),
        "service": [service_keys(service) for service in site.services],
        "route": [site_route_table(route) for route in site.routes],
        "roles": dict(site.roles),
        "power_domain": [_domain(d, "rating") for d in site.domains if d.kind == "power"],
        "cooling_zone": [_domain(d, "capacity") for d in site.domains if d.kind == "cooling"],
        "node": [_node(node) for node in site.nodes],
        "gateway": [_gateway(gateway) for gateway in site.gateways],
        "schedule": [_schedule(schedule) for schedule in site.schedules],
        "webhook": [_webhook(hook) for hook in site.webhooks],
        "http": {} if site.http is None else _http(site.http),
        "notify": site_notify_keys(site.notify),
    }
    return document_text({key: value for key, value in document.items() if value})


def _timing(timing: Timing) -> dict[str, str | int]:
    fence_max = {"fence_max": timing.fence_max} if timing.fence_max else {}
    return {
        "beat_period": format_duration(timing.beat_period_s),
        "isolation_after": format_duration(timing.isolation_after_s),
        "isolation": timing.isolation,
        "task_lease": format_duration(timing.task_lease_s),
        "emergency_grace": format_duration(timing.emergency_grace_s),
        "protected_run": format_duration(timing.protected_run_s),
        "overtake": format_duration(timing.overtake_s),
        "max_grace": format_duration(timing.max_grace_s),
        "fence_after": format_duration(timing.fence_after_s),
        **fence_max,
    }


def _domain(domain: Domain, size_key: str) -> dict[str, Any]:
    written: dict[str, Any] = {"name": domain.id}
    if domain.parent is not None:
        written["parent"] = domain.parent
    if domain.meter is not None:
        written["meter"] = meter_keys(domain.meter)
    if domain.plant is not None:
        written |= plant_keys(domain.plant)
    return written | {
        size_key: format_power(domain.rating_mw),
        "derate": domain.derate_permille / PERMILLE,
        "fixed_load": format_power(domain.fixed_load_mw),
        "transient_margin": format_power(domain.transient_margin_mw),
        "foreign_reserve": format_power(domain.foreign_reserve_mw),
    }


def _node(node: Node) -> dict[str, Any]:
    written: dict[str, Any] = {
        "name": node.id,
        "rack": node.rack,
        "inputs": _inputs(node),
    }
    if node.cooling_zone is not None:
        written["cooling_zone"] = node.cooling_zone
    if node.out_of_band is not None:
        written["out_of_band"] = out_of_band_keys(node.out_of_band)
    if node.labels:
        written["labels"] = dict(node.labels)
    return written | {
        "non_gpu_worst": format_power(node.non_gpu_worst_mw),
        "psu_efficiency": node.psu_efficiency_permille / PERMILLE,
        "nameplate": format_power(node.nameplate_mw),
        "off": node.is_off,
    }


def _inputs(node: Node) -> list[dict[str, Any]]:
    written: list[dict[str, Any]] = [{"domain": domain} for domain in node.inputs]
    for one, share in zip(written, node.shares, strict=False):
        one["share"] = share.share_permille / PERMILLE
        if share.when_lost:
            one["when_lost"] = {lost: s / PERMILLE for lost, s in share.when_lost.items()}
    return written


def _gateway(gateway: Gateway) -> dict[str, Any]:
    keys: dict[str, Any] = {
        "name": gateway.name,
        "worker_endpoint": gateway.worker_endpoint,
        "http_address": gateway.http_address,
        "connections_per_address": gateway.connections_per_address,
        "hold": format_duration(gateway.hold_s),
        "keys_valid": format_duration(gateway.keys_valid_s),
    }
    if gateway.tls_cert:
        keys |= {"tls_cert": gateway.tls_cert, "tls_key": gateway.tls_key}
    if gateway.insecure:
        keys["insecure"] = True
    if gateway.open:
        keys["open"] = True
    if gateway.trusted_proxies:
        keys["trusted_proxies"] = list(gateway.trusted_proxies)
    return keys


def _schedule(schedule: Schedule) -> dict[str, Any]:
    return {
        "domain": schedule.domain,
        "when": list(schedule.when),
        "limit": format_power(schedule.limit_mw),
        "ramp": format_duration(schedule.ramp_s),
        "release": format_duration(schedule.release_s),
        "reason": schedule.reason,
    }


def _webhook(hook: Webhook) -> dict[str, Any]:
    return {"url": hook.url, "events": list(hook.events), "secret_file": hook.secret_file}


def _http(door: HttpApi) -> dict[str, Any]:
    return {"listen": door.listen, "token_file": door.token_file, "caller": door.caller}


def site_template(
    name: str, agent_endpoint: str, client_endpoint: str, users: Mapping[str, str] | None = None
) -> str:
    """The commented site file written by `wattline init`: valid without changes, without nodes.

    `users`: accounts of the hosts that tasks run as, by user; None: no such table.
    """
    pairs = ", ".join(f"{user} = {quoted(account)}" for user, account in (users or {}).items())
    run_as = _RUN_AS.format(users=pairs) if users else _NO_RUN_AS
    return _TEMPLATE.format(
        run_as=run_as,
        name=quoted(name),
        agent_endpoint=quoted(agent_endpoint),
        client_endpoint=quoted(client_endpoint),
    )


_RUN_AS = """\
# Host accounts that tasks run as. Only users mapped to root here run tasks as root.
[run_as]
others = "same"                       # as the account of their own name; or "refuse", "keeper"
users = {{ {users} }}
"""

_NO_RUN_AS = """\
# Host accounts that tasks run as; without this table the keeper's, unless that is root.
# [run_as]
# others = "same"                     # as the account of their own name; or "refuse", "keeper"
# users = { ci = "build" }
"""

_TEMPLATE = """\
# The site: its power feeds, its cooling and its nodes. All keys: docs/site-file.md

[site]
name = {name}
agent_endpoint = {agent_endpoint}    # agents connect here
client_endpoint = {client_endpoint}   # clients connect here
# checkpoint_root = "/mnt/checkpoints"  # a directory mounted on every node
# time_zone = "Europe/Berlin"         # of schedules; UTC otherwise
# logs = "everyone"                   # read all logs; otherwise owners and operators

[tariff]
usd_per_kwh = 0.15
usd_per_gpu_hour = 0.0

# Power domains form a tree. The budget is rating x derate; 0.8 is right for breakers.
[[power_domain]]
name = "feed-a"
rating = "40kW"
derate = 0.8

# [[power_domain]]
# name = "pdu-a1"
# parent = "feed-a"
# rating = "20kW"
# fixed_load = "300W"                 # constant load: switches, fans
# foreign_reserve = "1kW"             # reserved for GPU work that Wattline did not start

# [power_domain.meter]                  # measures its breaker; or prometheus, redfish
# command = ["/usr/local/bin/pdu-watts", "a1"]

# Cooling zones form another tree; the draw of a node is the heat to remove.
# [[cooling_zone]]
# name = "room-1"
# capacity = "35kW"
# units = 3                            # with unit_capacity: a failed unit lowers the budget
# unit_capacity = "12kW"
# inlet_limit_c = 27                   # maximum; the budget is lowered to hold it

# One block may describe many identical nodes.
# [[node]]
# name = "gpu-[01-04]"
# rack = "rack-1"
# inputs = [{{ domain = "pdu-a1" }}]
# cooling_zone = "room-1"
# nameplate = "10.2kW"                # maximum draw of the whole host, at the wall
# non_gpu_worst = "2kW"               # maximum draw of everything but the GPUs
# psu_efficiency = 0.94
# labels = {{ fabric = "ib" }}          # jobs select nodes by them

# Switches hosts off without their agents, if a lowered budget is not met otherwise.
# [out_of_band]
# redfish = "https://bmc-{{node}}.example.org/redfish/v1/Systems/1"
# user = "power"
# secret_file = "/etc/wattline/bmc.secret"

# A lower budget in weekly windows, in local time (time_zone above).
# [[schedule]]
# domain = "feed-a"
# when = ["Mon-Fri 16:00-20:00"]
# limit = "80%"                       # the remaining budget; or "25kW"
# ramp = "5m"
# reason = "peak tariff"

# Where inference workers find the gateway, and where it serves HTTP.
# [[gateway]]
# name = "gateway-1"
# worker_endpoint = "tcp://10.0.0.5:7703"
# http_address = "127.0.0.1:8080"

# Order among jobs of equal priority: the account with the least usage per share first.
# [fair_share]
# half_life = "7d"                    # usage of this age counts half
# own_accounts = false                # each job names one of the accounts below
# [[account]]
# name = "research"
# shares = 60                         # others have 1 each
# [[account]]
# name = "vision"
# parent = "research"
# gpus = 64                           # at a time; also power, energy_per_day, cost_per_month
# open_jobs = 20000                   # each index of an array counts

# [[queue]]                           # if one is listed, others are refused
# name = "night"
# power = "20kW"
# users = ["ada", "bob"]
# max_priority = "normal"             # maximum priority of its jobs; also of accounts
# max_runtime = "12h"                 # also the limit of jobs without one
# goal = "efficiency"                 # default power.goal of its jobs

# Users that share a service name; other names belong to the user who used them first.
# [[service]]
# name = "echo"
# users = ["ada", "bob"]

# Public names over services; see docs/routing.md.
# [[route]]
# name = "digits"
# cascade = ["small", "large"]        # or to = "small", and rules
# limit = 0.8

# Weights of the placement cost, in GPUs; see docs/site-file.md.
# [weights]
# watts = 0.5                         # prefers GPUs that draw less

{run_as}
# Variables of the agents' environment that tasks see besides PATH, LANG, LC_*, TZ and
# LD_LIBRARY_PATH.
# [tasks]
# pass_env = ["HTTP_PROXY", "NCCL_*"]

# Images and mounts of tasks in containers; see docs/containers.md.
# [containers]
# mounts = ["/data:ro"]

# Stores of data sets; see docs/data-sets.md.
# [data]
# store = "/srv/data"                 # or "s3://bucket/prefix", of a server at endpoint

# Receivers of notifications of jobs (`wattline submit --notify`); see docs/notifications.md.
# [notify]
# allow = ["example.org"]             # domains of addresses, hosts of URLs
# smtp = "127.0.0.1:25"
# from = "wattline@example.org"

# Roles of users, in place of those that they were enrolled with.
# [roles]
# alice = "operator"
"""
