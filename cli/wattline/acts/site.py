"""Creates a site directory and enrolls members."""

from collections.abc import Mapping
from pathlib import Path

import msgspec

from wattline import exits
from wattline.acts.run_as import chosen
from wattline.failures import ActFailed
from wattline_protocol.site.file import parse_site
from wattline_protocol.site.model import Role, Site
from wattline_protocol.site.text import site_template
from wattline_protocol.text.names import check_name
from wattline_protocol.trust.members import enroll as enroll_member
from wattline_protocol.trust.members import init_site_keys

SITE_FILE = "site.toml"
BUNDLES = "bundles"
MAX_SITE_BYTES = 4 * 1024 * 1024
LAST_PORT = 65_535
PORTS = 4
"""Agents, clients, gateway workers, HTTP."""


class MadeSite(msgspec.Struct, frozen=True):
    """Result of `init`."""

    site: str
    directory: str
    site_file: str
    admin_bundle: str
    nodes: tuple[str, ...]
    admin: str = ""
    admin_runs_as: str = ""
    """Account of the hosts that tasks of the admin run as; empty: the keeper's own."""
    run_as_notes: tuple[str, ...] = ()
    """Notes on that account."""


class Enrolled(msgspec.Struct, frozen=True):
    """Result of `enroll`."""

    name: str
    role: Role
    bundle: str


def init(
    *,
    directory: str,
    name: str | None,
    host: str,
    port: int,
    nodes: tuple[str, ...],
    admin: str,
    run_as: str | None = None,
) -> MadeSite:
    """Create the directory; refuses one that contains a site already."""
    folder = Path(directory)
    if (folder / SITE_FILE).exists():
        raise ActFailed(f"{folder / SITE_FILE} exists; it is never overwritten")
    if not 1 <= port <= LAST_PORT - PORTS + 1:
        text = f"--port {port}: expected 1 to {LAST_PORT - PORTS + 1}; the site takes {PORTS} ports"
        raise ActFailed(text, exits.USAGE)
    whole_name = name or folder.resolve().name
    _check_names("DIRECTORY" if name is None else "--name", whole_name)
    _check_names("--node", *nodes)
    _check_names("--admin", admin)
    site_text(whole_name, host, port, nodes)  # refuses before an account is created
    choice = chosen(run_as, admin)
    users = {admin: choice.account} if choice.account else {}
    text = site_text(whole_name, host, port, nodes, users)
    site = parse_site(text, SITE_FILE)
    init_site_keys(folder)
    (folder / SITE_FILE).write_text(text, encoding="utf-8")
    bundle = enroll(name=admin, role="admin", site=directory, out=None).bundle
    return MadeSite(
        site=site.name,
        directory=str(folder),
        site_file=str(folder / SITE_FILE),
        admin_bundle=bundle,
        nodes=tuple(node.id for node in site.nodes),
        admin=admin,
        admin_runs_as=choice.account,
        run_as_notes=choice.notes,
    )


def site_text(
    name: str,
    host: str,
    port: int,
    nodes: tuple[str, ...],
    users: Mapping[str, str] | None = None,
) -> str:
    """The initial site file: the commented template, the nodes requested and a gateway."""
    template = site_template(name, f"tcp://{host}:{port}", f"tcp://{host}:{port + 1}", users)
    gateway = _GATEWAY.format(workers=f"tcp://{host}:{port + 2}", http=f"{host}:{port + 3}")
    return "\n".join([template, *(_NODE.format(node=node) for node in nodes), gateway])


def _check_names(given_by: str, *names: str) -> None:
    """Raises ActFailed for what is no name."""
    for name in names:
        try:
            check_name(name)
        except ValueError as error:
            raise ActFailed(f"{given_by}: {error}", exits.USAGE) from error


_NODE = """\
[[node]]
name = "{node}"
rack = "rack-1"
inputs = [{{ domain = "feed-a" }}]
nameplate = "8.9kW"       # an 8-GPU host at full load, at the wall: correct it for yours
non_gpu_worst = "2.2kW"   # everything but the GPUs at its worst, behind the power supplies
psu_efficiency = 0.92     # the lowest efficiency of the power supplies
"""

_GATEWAY = """\
[[gateway]]
name = "gateway"
worker_endpoint = "{workers}"
http_address = "{http}"   # other than loopback it needs tls_cert and tls_key
"""


def enroll(*, name: str, role: Role, site: str, out: str | None) -> Enrolled:
    """Enroll `name`: list its key and write its bundle."""
    folder = Path(site)
    known = read_site(folder)
    _check_member(known, name, role)
    path = Path(out) if out is not None else _bundle_path(folder, name)
    enroll_member(
        folder,
        name,
        role,
        site=known.name,
        agent_endpoint=known.agent_endpoint,
        client_endpoint=known.client_endpoint,
        bundle_path=path,
    )
    return Enrolled(name, role, str(path))


def read_site(folder: Path) -> Site:
    """The site file in `folder`. Raises ActFailed or SiteFileError."""
    path = folder / SITE_FILE
    try:
        with path.open("rb") as file:
            data = file.read(MAX_SITE_BYTES + 1)
    except FileNotFoundError:
        raise ActFailed(
            f"no site file {path}; set the site directory with --site, or create one with "
            "`wattline init DIR`",
            exits.NOT_FOUND,
        ) from None
    except OSError as error:
        raise ActFailed(f"cannot read {path}: {error.strerror}") from error
    if len(data) > MAX_SITE_BYTES:
        raise ActFailed(f"{path} is over {MAX_SITE_BYTES} bytes", exits.USAGE)
    return parse_site(data.decode("utf-8", errors="replace"), str(path))


def _check_member(site: Site, name: str, role: Role) -> None:
    """Agents and gateways must be named in the site file, which detects typing errors."""
    known: dict[str, list[str]] = {
        "agent": [node.id for node in site.nodes],
        "gateway": [gateway.name for gateway in site.gateways],
    }
    if role in known and name not in known[role]:
        names = ", ".join(known[role][:10]) or "none"
        raise ActFailed(
            f"the site file has no {'node' if role == 'agent' else 'gateway'} {name!r}; "
            f"it has {names}",
            exits.NOT_FOUND,
        )


def _bundle_path(folder: Path, name: str) -> Path:
    bundles = folder / BUNDLES
    bundles.mkdir(mode=0o700, exist_ok=True)
    return bundles / f"{name}.toml"
