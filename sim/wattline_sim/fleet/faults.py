"""What goes wrong, and when: drawn from the seed, over by the time the run must settle."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from wattline_protocol.ids import NodeId
from wattline_sim.fleet.machine import Gpu

if TYPE_CHECKING:
    from wattline_sim.fleet.site import FleetSite

MEAN_BETWEEN_S = 4.0


class Faults:
    """Keeps hurting the site until `heal`."""

    def __init__(self, site: "FleetSite") -> None:
        self._site = site
        self._rng = site.world.rng
        self._over = False
        self._kinds: list[tuple[str, Callable[[], None]]] = [
            ("storm", self._storm),
            ("partition", self._partition),
            ("agent crash", self._agent_crash),
            ("host reboot", self._reboot),
            ("wiped disk", self._wipe),
            ("scheduler crash", self._scheduler_crash),
            ("shed", self._shed),
            ("hung driver", self._hang),
            ("driver reload", self._reload),
            ("BMC limit", self._bmc),
            ("wall clock jump", self._jump),
            ("power off", self._power_off),
        ]

    def begin(self) -> None:
        """Start hurting."""
        self._next()

    def heal(self) -> None:
        """Nothing more happens, and what was hurt is well again."""
        self._over = True
        weather = self._site.network.weather
        weather.loss = weather.repeat = 0.0
        weather.cut.clear()
        for machine in self._site.machines.values():
            for gpu in machine.gpus.values():
                gpu.hung_until_s = 0.0
        self._site.restore_budgets()

    def _next(self) -> None:
        def strike() -> None:
            if not self._over:
                name, act = self._rng.choice(self._kinds)
                self._site.story.fault(self._site.world.now_s, name)
                act()
                self._next()

        self._site.world.after(self._rng.expovariate(1.0 / MEAN_BETWEEN_S), strike)

    def _later(self, low_s: float, high_s: float, act: Callable[[], None]) -> None:
        self._site.world.after(self._rng.uniform(low_s, high_s), act)

    def _some_node(self) -> NodeId:
        return self._rng.choice(sorted(self._site.machines))

    def _storm(self) -> None:
        weather = self._site.network.weather
        weather.loss, weather.repeat = self._rng.uniform(0, 0.5), self._rng.uniform(0, 0.3)
        weather.delay_s = self._rng.choice([0.002, 0.05, 0.5])

        def calm() -> None:
            weather.loss = weather.repeat = 0.0
            weather.delay_s = 0.002

        self._later(1.0, 15.0, calm)

    def _partition(self) -> None:
        node = self._some_node()
        cut = self._site.network.weather.cut
        cut.add(node)
        self._later(1.0, 40.0, lambda: cut.discard(node))

    def _agent_crash(self) -> None:
        self._site.crash_agent(self._some_node(), down_s=self._rng.uniform(0.1, 10.0))

    def _reboot(self) -> None:
        node = self._some_node()
        self._site.crash_agent(node, down_s=self._rng.uniform(1.0, 10.0))
        self._site.machine(node).reboot()

    def _wipe(self) -> None:
        node = self._some_node()
        self._site.crash_agent(node, down_s=self._rng.uniform(0.1, 3.0))
        self._site.machine(node).wipe_disk()

    def _scheduler_crash(self) -> None:
        self._site.scheduler.crash(down_s=self._rng.uniform(0.1, 10.0))

    def _shed(self) -> None:
        self._site.shed(self._rng.uniform(0.05, 0.5))
        self._later(2.0, 20.0, self._site.restore_budgets)

    def _gpu(self) -> Gpu:
        machine = self._site.machine(self._some_node())
        return self._rng.choice(list(machine.gpus.values()))

    def _hang(self) -> None:
        self._gpu().hung_until_s = self._site.world.now_s + self._rng.uniform(0.5, 8.0)

    def _reload(self) -> None:
        self._site.machine(self._some_node()).reload_driver()

    def _bmc(self) -> None:
        gpu = self._gpu()
        full_mw = gpu.bmc_mw
        gpu.bmc_mw = self._rng.randint(250, 600) * 1000

        def lift() -> None:
            gpu.bmc_mw = full_mw

        self._later(1.0, 20.0, lift)

    def _jump(self) -> None:
        self._site.machine(self._some_node()).clock.jump(self._rng.uniform(-1e4, 1e4))

    def _power_off(self) -> None:
        self._site.power_off(self._some_node(), for_s=self._rng.uniform(3.0, 20.0))
