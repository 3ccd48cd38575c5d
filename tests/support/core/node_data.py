"""Sites whose nodes have caches of data sets, and what their agents report of these."""

import msgspec

from support.core.harness import Harness, joined
from support.core.sites import JobBuilder, job, site
from wattline_protocol.data.requests import AddData, DataAdded
from wattline_protocol.data.site_data import SiteData
from wattline_protocol.job.spec import DataSpec
from wattline_protocol.wire.agents.data_messages import (
    DataHeld,
    DataReport,
    DataState,
    DataToHold,
    HoldData,
)

CACHE_BYTES = 10_000
SIZE_BYTES = 2_000


def sha(content: int) -> str:
    return f"{content:064x}"


def started(nodes: int = 2) -> Harness:
    """Nodes a1, a2, … with empty caches."""
    h = joined(msgspec.structs.replace(site().rack("a", nodes).build(), data=SiteData("/srv")))
    for number in range(nodes):
        report(h, f"a{number + 1}")
    return h


def report(h: Harness, node: str, *held: DataHeld, limit: int = CACHE_BYTES) -> None:
    """What the agent of a node says of its cache, and what follows."""
    agent = h.agent(node)
    h.say(node, DataReport(agent.epoch, agent.incarnation, held, limit, 0))
    h.settle()


def held(
    h: Harness,
    node: str,
    content: int,
    state: DataState = "ready",
    *,
    detail: str = "",
    done: int = 0,
    is_full: bool = False,
) -> None:
    """The same of one version, as the newest list asks for it."""
    (one,) = [one for one in listed(h, node) if one.manifest_sha256 == sha(content)]
    about = (sha(content), state, done, SIZE_BYTES, detail, one.asked, one.listing, is_full)
    report(h, node, DataHeld(*about))


def listed(h: Harness, node: str) -> tuple[DataToHold, ...]:
    """The newest list of a node."""
    found = [m for m in h.sent_to(node, HoldData) if isinstance(m, HoldData)]
    return found[-1].versions if found else ()


def holding(h: Harness) -> dict[str, list[str]]:
    """Versions on each list that is not empty."""
    lists = {node: [one.reference for one in listed(h, node)] for node in h.agents}
    return {str(node): names for node, names in lists.items() if names}


def add(
    h: Harness,
    content: int,
    size: int = SIZE_BYTES,
    name: str = "digits",
    store: str = "/srv",
) -> None:
    as_of = h.cluster.state.data.as_of(h.cluster.state.epoch)
    request = AddData(name, "dataset", store, as_of, sha(content), 1, size, size)
    assert isinstance(h.ask(request, user="ada", role="submitter"), DataAdded)


def reads(*versions: str, gpus: int = 1, nodes: int = 1) -> JobBuilder:
    spec = job().gpus(gpus).nodes(nodes).build()
    return JobBuilder(msgspec.structs.replace(spec, data=DataSpec(versions)))
