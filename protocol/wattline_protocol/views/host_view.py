"""View of a host apart from its GPUs."""

import msgspec

from wattline_protocol.ids import GpuIndex, JobId
from wattline_protocol.text.wording import about_size, bit_rate
from wattline_protocol.wire.agents.host_load import HostLoad


class ProcessView(msgspec.Struct, frozen=True):
    """The first process of an attempt on the node."""

    job: JobId
    task: str
    """As `JOB.TASK#ATTEMPT`."""
    name: str
    """Of the job."""
    user: str
    gpus: tuple[GpuIndex, ...]
    pid: int | None
    """None: it has not started."""


class HostView(msgspec.Struct, frozen=True):
    """Processors, memory, disk and network of a node that reports."""

    cpus: int
    """Logical processors."""
    cpu_pct: float
    """Of all of them."""
    memory_bytes: int
    memory_used_bytes: int
    load: HostLoad | None = None
    """None: its agent is of an earlier release."""
    processes: tuple[ProcessView, ...] = ()
    """Of tasks; foreign ones are in `GpuView.foreign`."""

    @property
    def cpu_share(self) -> float:
        """0..1."""
        return self.cpu_pct / 100

    @property
    def cpu_text(self) -> str:
        """`41 % of 128`."""
        return f"{self.cpu_pct:.0f} % of {self.cpus}"

    @property
    def memory_share(self) -> float | None:
        """0..1."""
        return self.memory_used_bytes / self.memory_bytes if self.memory_bytes else None

    @property
    def memory_text(self) -> str:
        """`812 GiB of 1.97 TiB`."""
        return f"{about_size(self.memory_used_bytes)} of {about_size(self.memory_bytes)}"

    @property
    def disk_share(self) -> float | None:
        """Of the file system in which tasks run, 0..1; None = not measured."""
        load = self.load
        if load is None or load.disk_used_bytes is None or not load.disk_bytes:
            return None
        return load.disk_used_bytes / load.disk_bytes

    @property
    def disk_text(self) -> str:
        """`71 % of 3.49 TiB, busy 12 %`; empty = not measured."""
        load, used = self.load, self.disk_share
        if load is None or used is None:
            return ""
        busy = "" if load.disk_busy is None else f", busy {100 * load.disk_busy:.0f} %"
        return f"{100 * used:.0f} % of {about_size(load.disk_bytes or 0)}{busy}"

    @property
    def link_share(self) -> float | None:
        """Of its speed, in the busier direction, 0..1; None = not measured."""
        link = self.load.link if self.load is not None else None
        if link is None or not link.speed_bytes_s:
            return None
        return max(link.received_bytes_s, link.sent_bytes_s) / link.speed_bytes_s

    @property
    def link_rates(self) -> str:
        """`18 Gb/s in, 2 Gb/s out`; empty = not measured."""
        link = self.load.link if self.load is not None else None
        if link is None:
            return ""
        return f"{bit_rate(link.received_bytes_s)} in, {bit_rate(link.sent_bytes_s)} out"

    @property
    def link_text(self) -> str:
        """`ib0 18 Gb/s in, 2 Gb/s out, of 200 Gb/s`; empty = not measured."""
        link = self.load.link if self.load is not None else None
        if link is None:
            return ""
        of = f", of {bit_rate(link.speed_bytes_s)}" if link.speed_bytes_s else ""
        return f"{link.name} {self.link_rates}{of}"
