"""One node's GPU driver: limits and telemetry of its part of the plant's arrays."""

from collections.abc import Mapping

import numpy as np

from wattline_agent.core.ports import CapResult, DeviceInfo, FastReading, Reading
from wattline_protocol.ids import GpuIndex, NodeId
from wattline_sim.facility.plant import Plant
from wattline_sim.shells.agent_effects import Driver

W_TO_MW = 1000.0
S_TO_NS = 1e9


class Board:
    """Telemetry of all GPUs as integers: one row a quantity, made at most once a step."""

    def __init__(self, plant: Plant) -> None:
        self._plant = plant
        self._made_s = -1.0
        self._rows = np.zeros((7, plant.layout.gpu_count), dtype=np.int64)
        self._node_w = plant.node_wall_w.copy()
        self._other_w = self._node_w

    def node_w(self, at: int) -> tuple[float, float]:
        """Wall watts of a node, and what it draws without its GPUs, behind the supplies."""
        self._refresh()
        return float(self._node_w[at]), float(self._other_w[at])

    def columns(self, part: slice) -> list[list[int]]:
        """Per GPU of `part`: average mW, °C of die and memory, utilisation, reasons, mJ, throttled
        ns."""
        self._refresh()
        columns: list[list[int]] = self._rows[:, part].T.tolist()
        return columns

    def _refresh(self) -> None:
        plant, rows = self._plant, self._rows
        if plant.now_s != self._made_s:
            self._made_s = plant.now_s
            self._node_w = plant.node_wall_avg_1s_w
            self._other_w = plant.hosts.other_w.copy()
            rows[0] = plant.power_avg_1s_w * W_TO_MW + 0.5
            rows[1] = plant.temp_c
            rows[2] = plant.memory_temp_c
            rows[3] = plant.util_pct
            rows[4] = plant.reasons
            rows[5] = plant.energy_j * W_TO_MW
            rows[6] = plant.power_throttle_s * S_TO_NS


class SimDriver(Driver):
    """What the agent's shell asks its collector for, answered from the plant."""

    def __init__(self, plant: Plant, board: Board, node: NodeId, at: int) -> None:
        self._plant, self._board, self._node = plant, board, node
        per_node = plant.layout.gpus_per_node
        self._first = at * per_node
        self._part = slice(self._first, self._first + per_node)
        self._indexes = tuple(GpuIndex(i) for i in range(per_node))
        self.loads = 1

    @property
    def driver_instance(self) -> str:
        """Changes when the driver is loaded again: limits are lost then."""
        return f"{self._node}-driver-{self.loads}"

    def infos(self) -> tuple[DeviceInfo, ...]:
        """Identity and limits of each GPU."""
        model = self._plant.layout.gpu_model
        return tuple(
            DeviceInfo(
                index=index,
                uuid=f"GPU-{self._node}-{index}",
                name=model.display_name,
                memory_bytes=model.memory_bytes,
                cap_min_mw=model.limit_min_w * 1000,
                cap_default_mw=model.limit_default_w * 1000,
                cap_max_mw=model.limit_max_w * 1000,
                can_cap=True,
                temp_limit_c=model.slowdown_c,
            )
            for index in self._indexes
        )

    def apply_caps(self, caps_mw: Mapping[GpuIndex, int]) -> tuple[CapResult, ...]:
        """Set and read back."""
        watts = np.array(list(caps_mw.values())) / W_TO_MW
        self._plant.set_limit_w([self._first + index for index in caps_mw], watts)
        return tuple(result for result in self.read_caps() if result.index in caps_mw)

    def read_caps(self) -> tuple[CapResult, ...]:
        """Limits of all GPUs."""
        enforced, host = self._limits_mw()
        return tuple(map(CapResult, self._indexes, enforced, host))

    def sample(self, mono_s: float) -> tuple[Reading, ...]:
        """Fast telemetry of all GPUs at once, with the limits of this very moment."""
        enforced, host = self._limits_mw()
        columns = self._board.columns(self._part)
        return tuple(
            FastReading(i, mono_s, avg, en, ho, die, hbm, util, None, None, why, mj, ns)
            for i, en, ho, (avg, die, hbm, util, why, mj, ns) in zip(
                self._indexes, enforced, host, columns, strict=True
            )
        )

    def _limits_mw(self) -> tuple[list[int], list[int]]:
        cards = self._plant.cards
        enforced: list[int] = np.rint(cards.limit_w[self._part] * W_TO_MW).astype(int).tolist()
        host: list[int] = np.rint(cards.driver_limit_w[self._part] * W_TO_MW).astype(int).tolist()
        return enforced, host
