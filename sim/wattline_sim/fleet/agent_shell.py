"""The agent's shell over virtual time: carries out the production core's effects on a machine."""

from collections.abc import Callable

from wattline_agent.core import effects as fx
from wattline_agent.core import events as ev
from wattline_agent.core.model import Facts
from wattline_agent.core.node import Node
from wattline_agent.core.ports import HostReading
from wattline_protocol.ids import Incarnation
from wattline_protocol.wire.agent_messages import FromAgent, ToAgent
from wattline_protocol.wire.codec import Codec
from wattline_sim.fleet.machine import Machine
from wattline_sim.fleet.network import Network
from wattline_sim.fleet.users.data_sets import CACHE_BYTES, Cache
from wattline_sim.fleet.world import World
from wattline_sim.shells.agent_effects import Disk, carry_out

SCHEDULER = "scheduler"
TO_AGENT: Codec[ToAgent] = Codec(ToAgent)
FROM_AGENT: Codec[FromAgent] = Codec(FromAgent)
DRIVER_CALL_S = 0.01
SAMPLE_PERIOD_S = 1.0
LOOK_PERIOD_S = 0.3
SAMPLES_PER_LOOK = 3
"""Samples until the processes of all GPUs are looked at again."""
SAMPLES_PER_SLOW = 15
"""Samples until somebody looks again how GPUs are divided."""
TICK_PERIOD_S = 0.2
START_AGAIN_S = 1.0
"""After a state directory that cannot be written, as the systemd unit says."""
CRASH_SHARE = 0.0005
"""Chance that the agent dies between two effects, while faults are on."""


class Crashed(Exception):
    """The simulated process died in the middle of what it did."""


class DiskFull(Exception):
    """The state directory has no room: the production agent ends on this."""


class AgentShell:
    """One node's agent process: may die at any effect and start again from its disk."""

    def __init__(
        self,
        world: World,
        network: Network,
        machine: Machine,
        after_step: Callable[[], None],
        may_crash: Callable[[], bool],
    ) -> None:
        self._world, self._network, self.machine = world, network, machine
        self._after_step, self._may_crash = after_step, may_crash
        self._life = 0
        self._stalled_until_s = 0.0
        self._samples = 0
        self.on_start: Callable[[], None] = lambda: None
        """Called when a new process begins, which knows only what is on disk."""
        self.node: Node | None = None
        self._cache: Cache | None = None

    def give_cache(self, cache: Cache) -> None:
        """Its node has a cache of data sets."""
        self._cache = cache
        cache.on_change = lambda: self._soon(ev.CacheSeen(cache.report()))

    def start(self) -> None:
        """A new process: reads its disk, looks at driver and keeper, says Hello."""
        if self.node is not None or not self.machine.is_up:
            return
        self._life += 1
        self.on_start()
        machine, disk = self.machine, self.machine.disk
        limits = machine.read_caps()
        if not self._is_same_driver():
            machine.floor_caps()
        if machine.is_disk_full:
            self._give_up()
            return
        facts = Facts(
            node=machine.node,
            nonce_seed=self._world.rng.randbytes(16),
            hostname=machine.node,
            cpus=64,
            memory_bytes=1 << 40,
            agent_version="fleet",
            keeper_account="wattline",
            takes_recovery=machine.takes_recovery,
            is_simulated=True,
            cache_bytes=CACHE_BYTES if self._cache is not None else 0,
        )
        self.node = Node(facts, disk.state, disk.usage)
        self._network.attach(machine.node, self._receive)
        self._handle(
            ev.Started(
                boot_id=machine.boot_id,
                driver_instance=machine.driver_instance,
                gpus=machine.infos(),
                limits=limits,
                tasks=machine.seen(),
            )
        )
        self._handle(ev.Connected())
        if self._cache is not None:
            self._soon(ev.CacheSeen(self._cache.report()))
        self._every(SAMPLE_PERIOD_S, self._sample)
        self._every(LOOK_PERIOD_S, lambda: self._handle(ev.TasksSeen(machine.seen())))
        self._every(TICK_PERIOD_S, lambda: self._handle(ev.TimePassed()))

    def _is_same_driver(self) -> bool:
        on_file, machine = self.machine.disk.state, self.machine
        return on_file is not None and (on_file.boot_id, on_file.driver_instance) == (
            machine.boot_id,
            machine.driver_instance,
        )

    def _give_up(self) -> None:
        """Floors, then the end; systemd starts it again."""
        self.machine.floor_caps()
        self.crash()
        self._world.after(START_AGAIN_S, self.start)

    def stop(self) -> None:
        """SIGTERM: it takes its leave."""
        self._handle(ev.StopAsked())
        self.crash()

    def stall(self, for_s: float) -> None:
        """The process gets no processor: everything waits, in order."""
        if self.node is None:
            return
        self._stalled_until_s = self._world.now_s + for_s

    def _is_stalled(self) -> bool:
        return self._stalled_until_s > self._world.now_s

    def is_at_work(self, known: Incarnation | None) -> bool:
        """It runs, as the incarnation that its scheduler knows."""
        member = self.node.state.session.member if self.node is not None else None
        is_known = member is not None and member.welcome.incarnation == known
        return is_known and not self._is_stalled() and not self.machine.is_disk_full

    def crash(self) -> None:
        """SIGKILL: only disk, driver and keeper remain."""
        self.node = None
        self._life += 1
        self._stalled_until_s = 0.0
        self._network.detach(self.machine.node)

    def _every(self, period_s: float, act: Callable[[], None]) -> None:
        life = self._life

        def again() -> None:
            if self._life != life:
                return
            if self._is_stalled():  # it looks when it runs again, not while it is stopped
                self._world.at(self._stalled_until_s, again)
                return
            act()
            self._world.after(period_s, again)

        self._world.after(self._world.rng.random() * period_s, again)

    def _sample(self) -> None:
        if self.node is None:
            return
        self._notice_reload(self.node)
        self._read_all()

    def _read_all(self) -> None:
        machine = self.machine
        if self.node is None:  # it died of a reload
            return
        readings = tuple(machine.read(gpu) for gpu in machine.gpus)
        look = self.node.unexplained_gpus(readings)
        if self._samples % SAMPLES_PER_LOOK == 0:
            look = self.node.managed_gpus
        self._handle(ev.Sampled(readings, foreign=self.machine.foreign(look)))
        self._handle(ev.HostRead(HostReading(cpu_pct=10.0, memory_used_bytes=1 << 30)))

    def _notice_reload(self, node: Node) -> None:
        machine = self.machine
        self._samples += 1
        is_other = node.state.file.driver_instance != machine.driver_instance
        if is_other or (self._samples % SAMPLES_PER_SLOW == 0 and self._is_outdated(node)):
            known = [gpu.index for gpu in node.state.gpus if gpu.info.uuid]
            self._handle(ev.DriverReloaded(machine.driver_instance, machine.infos(known)))

    def _is_outdated(self, node: Node) -> bool:
        """As a collector finds it: GPUs are divided otherwise, or one that was not read answers."""
        unread = (gpu.index for gpu in node.state.gpus if not gpu.info.uuid)
        reads = any(self.machine.is_answering(self.machine.gpus[index]) for index in unread)
        return reads or self._is_divided_anew(node)

    def _is_divided_anew(self, node: Node) -> bool:
        pairs = zip(node.state.gpus, self.machine.gpus.values(), strict=True)
        return any(seen.info.uuid and seen.info.mig != gpu.mig for seen, gpu in pairs)

    def _receive(self, source: str, data: bytes) -> None:
        del source
        self._handle(ev.SchedulerMessage(TO_AGENT.decode(data)))

    def _handle(self, event: ev.Event) -> None:
        if self.node is None:
            return
        if self._is_stalled():
            self._at(self._stalled_until_s, event)
            return
        try:
            for effect in self.node.handle(event, self.machine.clock.now):
                if self._may_crash() and self._world.rng.random() < CRASH_SHARE:
                    raise Crashed
                self._carry_out(effect)
        except Crashed:
            self.crash()
            self._world.after(self._world.rng.uniform(0.1, 5.0), self.start)
        except DiskFull:
            self._give_up()
        self._after_step()

    # --- what effects act upon ------------------------------------------------------------

    @property
    def driver(self) -> Machine:
        """The machine's GPUs."""
        return self.machine

    @property
    def keeper(self) -> Machine:
        """The machine's processes."""
        return self.machine

    @property
    def disk(self) -> Disk:
        """The machine's disk."""
        return self.machine.disk

    def send(self, message: FromAgent) -> None:
        """Send to the scheduler."""
        self._network.send(self.machine.node, SCHEDULER, FROM_AGENT.encode(message))

    def _carry_out(self, effect: fx.Effect) -> None:
        if self.machine.is_disk_full and isinstance(effect, fx.SaveState | fx.SaveUsage | fx.Spool):
            raise DiskFull
        if self._cache is not None:
            if isinstance(effect, fx.HoldVersions):
                self._cache.obey(effect.order)
                self._cache.on_change()
                return
            if isinstance(effect, fx.Launch):
                self._cache.check(effect.order)
        answer = carry_out(effect, self)
        if answer is not None:
            self._soon(answer)

    def _soon(self, event: ev.Event) -> None:
        self._at(self._world.now_s + DRIVER_CALL_S, event)

    def _at(self, time_s: float, event: ev.Event) -> None:
        life = self._life

        def hand_in() -> None:
            if self._life == life:
                self._handle(event)

        self._world.at(time_s, hand_in)
