"""A cluster whose messages stay in flight until somebody delivers, repeats or drops them."""

from collections.abc import Callable

import msgspec

from support.core.harness import Harness
from support.core.sites import site
from wattline_protocol.ids import NodeId
from wattline_protocol.site.model import Account, Queue, Quota
from wattline_protocol.wire.agent_messages import ToAgent
from wattline_scheduler.records import Record

MAX_IN_FLIGHT = 40


class LossyHarness(Harness):
    """Messages stay in flight until a rule delivers, repeats or drops them."""

    def __init__(self) -> None:
        built = (
            site()
            .gateway("tcp://127.0.0.1:3")
            .rack("a", 2, kw=9.0)
            .rack("b", 1, kw=6.0)
            .site_budget(13.0)
        )
        plain = built.times(task_lease_s=20.0, isolation_after_s=5.0).build()
        accounts = (Account("lab", quota=Quota(gpus=12, open_jobs=6)), Account("vision", "lab"))
        queues = (Queue("small", Quota(gpus=3)), Queue("cool", Quota(power_mw=4_000_000)))
        quotas = {"accounts": accounts, "queues": queues, "open_jobs_per_user": 14}
        shared = "/mnt/checkpoints"
        super().__init__(msgspec.structs.replace(plain, **quotas, checkpoint_root=shared))
        self.to_agents: dict[NodeId, list[ToAgent]] = {node: [] for node in self.agents}
        self.on_save: Callable[[Record], None] = lambda _: None
        """Told of each record before it is on disk."""

    def save(self, record: Record) -> None:
        self.on_save(record)
        super().save(record)

    def send(self, node: NodeId, message: ToAgent) -> None:
        if node not in self.cut_off:
            flying = self.to_agents[node]
            flying.append(message)
            del flying[:-MAX_IN_FLIGHT]
