"""Start and stop of a scheduler."""

import gc
import signal
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from types import FrameType

import structlog

from wattline_protocol.ids import Instant, Now, UnixTime
from wattline_protocol.site.checks import site_warnings
from wattline_protocol.site.file import SiteFileError, parse_site
from wattline_protocol.site.model import Site
from wattline_protocol.trust.keys import KeyFileError, KeyPair, load_keys
from wattline_protocol.trust.members import AUTHORIZED, SCHEDULER_KEY, Authorized
from wattline_protocol.wire.transport import ServerSocket, TransportError
from wattline_scheduler.core.cluster import Cluster
from wattline_scheduler.core.recovery import SiteMismatch, lasting
from wattline_scheduler.plan.search import native_loops
from wattline_scheduler.records import Saved
from wattline_scheduler.shell.background import Background
from wattline_scheduler.shell.clients.client_endpoint import CLIENT_LIMITS
from wattline_scheduler.shell.clients.permissions import AGENT_ROLES, CLIENT_ROLES, gateway_keys
from wattline_scheduler.shell.config import SITE_FILE, SchedulerConfig
from wattline_scheduler.shell.fatal_messages import FATAL_NAME, FatalMessages
from wattline_scheduler.shell.http_api.exchange import ApiUnusable
from wattline_scheduler.shell.http_api.http_bridge import HttpBridge
from wattline_scheduler.shell.logs import log_to_stderr
from wattline_scheduler.shell.loop import Loop
from wattline_scheduler.shell.sockets import Sockets
from wattline_scheduler.shell.webhooks.webhook import check_secrets
from wattline_scheduler.store.errors import StoreError
from wattline_scheduler.store.store import Store

OK = 0
FAILED = 1
BAD_INPUT = 2
"""Invalid site file, keys or endpoints: nothing was started."""

log = structlog.get_logger()


class SiteUnusable(Exception):
    """The site directory does not allow a start; the text names the remedy."""


class Stop:
    """Set by SIGTERM and SIGINT; the loop checks it after every step."""

    def __init__(self) -> None:
        self.is_asked = False
        signal.signal(signal.SIGTERM, self._ask)
        signal.signal(signal.SIGINT, self._ask)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self.is_asked = True


def run_scheduler(config: SchedulerConfig) -> int:
    """Run the site's scheduler until SIGTERM or SIGINT; returns the exit status.

    0: stopped on request. 1: the store failed, or an invariant broke; nothing was acknowledged that
    is not on disk. 2: the site directory cannot be used; nothing was started.
    """
    log_to_stderr(as_json=config.log_json)
    stop = Stop()
    try:
        site = read_site(config.site_dir)
        members = Authorized(config.site_dir / AUTHORIZED, site.roles)
        keys = load_keys(config.site_dir / SCHEDULER_KEY)
        check_secrets(site)
        sockets = open_sockets(site, keys, members)
    except (SiteUnusable, KeyFileError, TransportError) as error:
        log.error("scheduler_not_started", reason=str(error))
        return BAD_INPUT
    try:
        with closing(HttpBridge(site.http)) as http_api:
            return _serve(config, site, members, sockets, http_api, stop)
    except ApiUnusable as error:
        log.error("scheduler_not_started", reason=str(error))
        return BAD_INPUT
    except SiteMismatch as error:
        log.error("scheduler_not_started", reason=str(error))
        return BAD_INPUT
    except StoreError as error:
        log.error("store_failed", kind=type(error).__name__, reason=str(error))
    except Exception:
        log.exception("scheduler_broken", reason="invariant violated; this is a bug")
    finally:
        sockets.close()
    return FAILED


def _serve(
    config: SchedulerConfig,
    site: Site,
    members: Authorized,
    sockets: Sockets,
    http_api: HttpBridge,
    stop: Stop,
) -> int:
    began = read_clock()
    store, saved, cluster = restore(config, site, gateway_keys(members))
    services: Background | None = None
    try:
        services = Background.of(site, http_api, store, saved, read_clock)
        fatal = FatalMessages(config.state_dir / FATAL_NAME, began.unix_s)
        loop = Loop(cluster, store, sockets, members, services, read_clock, fatal)
        services.start(store)
        if fatal.problem:
            log.warning("fatal_file_unusable", reason=fatal.problem)
        _log_ready(site, saved, members, sockets, read_clock().mono_s - began.mono_s)
        if http_api.url:
            log.info("http_door_open", url=http_api.url)
        loop.refuse_again()
        run_until_stopped(loop, fatal, stop)
        loop.close()
    finally:
        if services is not None:
            services.close()
        store.close()
    log.info("scheduler_stopped", epoch=saved.epoch)
    return OK


def run_until_stopped(loop: Loop, fatal: FatalMessages, stop: Stop) -> None:
    """Run until a stop is requested. Records the messages under way when an error ends the run, so
    that the next run refuses them; a failed store or lack of memory is attributed to no message."""
    try:
        while not stop.is_asked:
            loop.step()
    except (StoreError, MemoryError):
        raise
    except Exception as error:
        try:
            fatal.write(error, read_clock())
        except OSError as unwritable:
            log.error("fatal_file_unusable", reason=str(unwritable))
        raise


def restore(
    config: SchedulerConfig, site: Site, gateway_keys: Mapping[str, str]
) -> tuple[Store, Saved, Cluster]:
    """Open the store and rebuild the state from it. Raises StoreError, SiteMismatch."""
    clusters: list[Cluster] = []

    def rebuild(saved: Saved) -> None:
        clusters.append(Cluster(site, saved, read_clock(), gateway_keys=gateway_keys))

    gc.disable()  # millions of permanent objects are created at once: collecting finds nothing
    try:
        store, saved = Store.open(
            config.state_dir,
            now_unix_s=read_clock().unix_s,
            recover=config.recover,
            lasting=lasting(site),
            verification=config.verification,
            meanwhile=rebuild,
        )
        gc.freeze()  # later collections need not scan them again
    finally:
        gc.enable()
    (cluster,) = clusters
    cluster.begin(read_clock())
    return store, saved, cluster


def _log_ready(
    site: Site, saved: Saved, members: Authorized, sockets: Sockets, took_s: float
) -> None:
    for problem in members.problems:
        log.warning("member_file_unusable", reason=problem)
    for warning in site_warnings(site):
        log.warning("site_file", reason=warning)
    log.info(
        "scheduler_ready",
        site=site.name,
        epoch=saved.epoch,
        agent_endpoint=sockets.agents.endpoint,
        client_endpoint=sockets.clients.endpoint,
        jobs=len(saved.jobs),
        planner=native_loops.way(),
        took_s=round(took_s, 3),
    )


def read_clock() -> Now:
    """Both clocks."""
    return Now(Instant(time.monotonic()), UnixTime(time.time()))


def read_site(directory: Path) -> Site:
    """The site file of a site directory. Raises SiteUnusable."""
    path = directory / SITE_FILE
    try:
        return parse_site(path.read_text(encoding="utf-8"), str(path))
    except OSError as error:
        raise SiteUnusable(
            f"cannot read {path}: {error.strerror}. `wattline init DIR` makes a site directory."
        ) from error
    except UnicodeDecodeError as error:
        raise SiteUnusable(f"{path} is not UTF-8 text: {error}") from error
    except SiteFileError as error:
        raise SiteUnusable(str(error)) from error


def open_sockets(site: Site, keys: KeyPair, members: Authorized) -> Sockets:
    """Listen for agents and clients. Raises TransportError."""
    agents = ServerSocket(site.agent_endpoint, keys, members.member, AGENT_ROLES)
    try:
        clients = ServerSocket(
            site.client_endpoint, keys, members.member, CLIENT_ROLES, CLIENT_LIMITS
        )
    except TransportError:
        agents.close()
        raise
    return Sockets(agents, clients)
