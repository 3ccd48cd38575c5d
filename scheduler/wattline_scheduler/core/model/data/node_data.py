"""What a node has of data sets, as its agent reports it, and the list that it was sent."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from wattline_protocol.ids import TaskRef
from wattline_protocol.wire.agents.data_messages import (
    CheckpointsStored,
    CheckpointsToStore,
    DataHeld,
    DataToHold,
    OutputNow,
    OutputToPublish,
)


@dataclass(slots=True, eq=False)
class NodeData:
    """The cache of a node. Unknown until its agent has reported in this incarnation."""

    limit_bytes: int | None = None
    """None: not reported."""
    used_bytes: int = 0
    held: Mapping[str, DataHeld] = field(default_factory=dict)
    """By the hash of the manifest."""
    error: str = ""
    """Why it has no usable cache."""
    listed: tuple[DataToHold, ...] | None = None
    """As last sent; None: it was sent no list in this incarnation."""
    dropped: tuple[str, ...] = ()
    """As last sent: manifests of versions that are no longer on record."""
    outputs: Mapping[TaskRef, OutputNow] = field(default_factory=dict)
    """Of attempts that have succeeded here."""
    publishes: tuple[OutputToPublish, ...] = ()
    """As last sent: the outputs that it is to publish."""
    to_store: tuple[CheckpointsToStore, ...] = ()
    """As last sent: checkpoints that it copies."""
    stored: Mapping[int, CheckpointsStored] = field(default_factory=dict)
    """By job: what it reports of them."""
    _listed: Mapping[str, DataToHold] = field(default_factory=dict)

    def is_ready(self, manifest_sha256: str) -> bool:
        """Whether tasks there may read the version: it was examined since it came onto the list."""
        held, listed = self.held.get(manifest_sha256), self.on_list(manifest_sha256)
        if held is None or listed is None:
            return False
        return held.state == "ready" and held.listing == listed.listing

    def on_list(self, manifest_sha256: str) -> DataToHold | None:
        """The version as it is on the list; None = it is not."""
        return self._listed.get(manifest_sha256)

    def report_of(self, listed: DataToHold) -> DataHeld | None:
        """What the node reports of a version as it is on the list; None: nothing yet. A report
        about an earlier listing, or an earlier job, says nothing about this one."""
        held = self.held.get(listed.manifest_sha256)
        if held is None or (held.asked, held.listing) != (listed.asked, listed.listing):
            return None
        return held

    def reports(self) -> Iterator[tuple[DataToHold, DataHeld]]:
        """The versions on the list of which it reports something."""
        for one in self.listed or ():
            if (held := self.report_of(one)) is not None:
                yield one, held

    def send(
        self,
        versions: tuple[DataToHold, ...],
        dropped: tuple[str, ...],
        publishes: tuple[OutputToPublish, ...],
        to_store: tuple[CheckpointsToStore, ...],
    ) -> None:
        """The lists as they are sent now."""
        self.listed, self.dropped = versions, dropped
        self.publishes, self.to_store = publishes, to_store
        self._listed = {one.manifest_sha256: one for one in versions}

    def has_all(self, manifests: Iterable[str]) -> bool:
        """The same of several."""
        return all(map(self.is_ready, manifests))

    @property
    def ready(self) -> frozenset[str]:
        """Hashes of manifests."""
        return frozenset(name for name in self.held if self.is_ready(name))

    @property
    def copies(self) -> frozenset[str]:
        """The same of all versions in the cache, on the list or not."""
        return frozenset(name for name, held in self.held.items() if held.state == "ready")
