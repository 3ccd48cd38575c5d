"""One host: the production agent core over virtual time, on the plant's GPUs.

Carries out the core's effects the way the agent's shell does. A process that dies keeps its disk, a
host that goes dark also loses its tasks and its limits, and boots again with every GPU at its floor
(`wattline-cap.service`) before anything else runs.
"""

from collections.abc import Callable

from wattline_agent.core import effects as fx
from wattline_agent.core import events as ev
from wattline_agent.core.model import Facts
from wattline_agent.core.node import Node
from wattline_agent.core.ports import HostReading
from wattline_protocol.ids import NodeId
from wattline_protocol.wire.agent_messages import FromAgent, ToAgent
from wattline_sim.facility.context import Ground
from wattline_sim.facility.driver import SimDriver
from wattline_sim.facility.keeper import SimKeeper
from wattline_sim.fleet.world import HostClock
from wattline_sim.shells.agent_effects import Disk, carry_out

SAMPLE_S = 1.0
SET_S, READ_S = 0.01, 0.005
"""What a driver call takes that sets limits (measured 5 to 50 ms), or only reads them."""
BUSY_TICK_S = 0.2
"""The shell's tick; in between samples only a node that waits for something needs it."""
BOOT_S = 90.0
CPU_PCT = 20.0
SENSOR_ERROR = 0.01
"""Of a server's own power sensors; the same for a server at all times."""


class SimHost:
    """One node's agent process and the host below it."""

    def __init__(self, ground: Ground, node: NodeId, at: int) -> None:
        self._world, self._wire, self._plant = ground.world, ground.wire, ground.plant
        self._stopwatch, self._board = ground.stopwatch, ground.board
        self._sensor_gain = 1.0 + ground.world.rng.uniform(-SENSOR_ERROR, SENSOR_ERROR)
        self.node_id, self.at = node, at
        self.clock = HostClock(ground.world)
        self.driver = SimDriver(ground.plant, ground.board, node, at)
        self.keeper = SimKeeper(ground, self.clock, at * ground.plant.layout.gpus_per_node)
        self.node: Node | None = None
        self.disk = Disk(has_spool=False)
        self._life = 0
        self._boots = 1
        self._is_ticking = False

    # --- life ------------------------------------------------------------------------------

    def start(self) -> None:
        """A new agent process reads its disk, looks at driver and keeper, says Hello."""
        if self.node is not None or not self.is_powered:
            return
        self._life += 1
        facts = Facts(
            node=self.node_id,
            nonce_seed=self._world.rng.randbytes(16),
            hostname=self.node_id,
            cpus=128,
            memory_bytes=1 << 40,
            agent_version="facility",
            keeper_account="wattline",
            takes_recovery=True,
            is_simulated=True,
        )
        self.node = Node(facts, self.disk.state, self.disk.usage)
        self._wire.attach_agent(self.node_id, self._receive)
        self._handle(
            ev.Started(
                boot_id=f"{self.node_id}-boot-{self._boots}",
                driver_instance=self.driver.driver_instance,
                gpus=self.driver.infos(),
                limits=self.driver.read_caps(),
                tasks=self.keeper.observe(),
            )
        )
        self._handle(ev.Connected())
        offset_s = self._world.rng.random() * SAMPLE_S
        self._world.after(offset_s, self._living(self._sample))

    def crash(self) -> None:
        """The agent's process dies; tasks and limits stay."""
        self.node = None
        self._life += 1
        self._wire.detach_agent(self.node_id)

    @property
    def is_powered(self) -> bool:
        """The host has power."""
        return bool(self._plant.is_powered[self.at])

    def look_at_power(self) -> None:
        """Each second: follow the plant into the dark, and boot once there is light."""
        if self.node is not None and not self.is_powered:
            self.crash()
            self.keeper.lose_power()
            self._boots += 1
            self.driver.loads += 1
            self._wait_for_power()

    def _wait_for_power(self) -> None:
        def look() -> None:
            if self.is_powered:
                self._world.after(BOOT_S, self._boot)
            else:
                self._world.after(SAMPLE_S, look)

        self._world.after(SAMPLE_S, look)

    def _boot(self) -> None:
        if not self.is_powered:
            self._wait_for_power()
            return
        self.clock = HostClock(self._world)
        self.keeper.boot(self.clock)
        self.driver.apply_caps({gpu.index: gpu.cap_min_mw for gpu in self.driver.infos()})
        self.start()

    # --- events ----------------------------------------------------------------------------

    def _sample(self) -> None:
        keeper, node = self.keeper, self.node
        if node is None:
            return
        keeper.look()
        if keeper.processes or keeper.has_news:
            self._handle(ev.TasksSeen(keeper.observe()))
        self._handle(ev.HostRead(self._host_reading()))
        self._handle(ev.Sampled(self.driver.sample(self.clock.now.mono_s)))
        self._world.after(SAMPLE_S, self._living(self._sample))

    def _host_reading(self) -> HostReading:
        """As the BMC of an 8-GPU server tells it: power of the node, air at its front."""
        node_w, other_w = self._board.node_w(self.at)
        return HostReading(
            cpu_pct=CPU_PCT,
            memory_used_bytes=1 << 36,
            node_mw=round(node_w * self._sensor_gain * 1000),
            source="hwmon",
            inlet_c=float(self._plant.inlet_c[self.at]),
            non_gpu_mw=round(other_w * self._sensor_gain * 1000),
        )

    def _receive(self, message: ToAgent) -> None:
        self._handle(ev.SchedulerMessage(message))

    def _handle(self, event: ev.Event) -> None:
        node = self.node
        if node is None:
            return
        with self._stopwatch.part("agents"):
            effects = node.handle(event, self.clock.now)
        for effect in effects:
            self._carry_out(effect)
        if self.keeper.has_news:
            self._handle(ev.TasksSeen(self.keeper.observe()))
        self._tick_while_busy(node)

    def _tick_while_busy(self, node: Node) -> None:
        """Deadlines shorter than a sample period exist only while something is under way."""
        if self._is_ticking or not is_busy(node):
            return
        self._is_ticking = True

        def tick() -> None:
            self._is_ticking = False
            self._handle(ev.TimePassed())

        self._world.after(BUSY_TICK_S, self._living(tick))

    def _living(self, act: Callable[[], None]) -> Callable[[], None]:
        life = self._life

        def if_alive() -> None:
            if self._life == life:
                act()

        return if_alive

    # --- effects ---------------------------------------------------------------------------

    def send(self, message: FromAgent) -> None:
        """Send to the scheduler."""
        self._wire.to_scheduler(self.node_id, message)

    def _carry_out(self, effect: fx.Effect) -> None:
        answer = carry_out(effect, self)
        if answer is not None:
            delay_s = SET_S if isinstance(effect, fx.ApplyCaps) else READ_S
            self._world.after(delay_s, self._living(lambda: self._handle(answer)))


def is_busy(node: Node) -> bool:
    """Something waits that the next sample would be too late for."""
    state = node.state
    session = state.session
    return (
        state.pending is not None
        or session.member is None
        or session.greeting is not None
        or any(
            a.will_load_gpus or (a.pausing is not None and not a.pausing.is_settled)
            for a in state.attempts.values()
        )
    )
