"""A network worse than TCP: any message may be lost, repeated, late or overtaken."""

from collections.abc import Callable
from dataclasses import dataclass, field

from wattline_sim.fleet.world import World

Address = str
Receive = Callable[[Address, bytes], None]

REPEAT_LATE_S = 30.0
"""A repeated message may arrive this much later: old messages must do no harm."""


@dataclass(slots=True)
class Weather:
    """How bad the network is now."""

    loss: float = 0.0
    repeat: float = 0.0
    delay_s: float = 0.002
    cut: set[Address] = field(default_factory=set)
    """Hosts that can reach nobody and be reached by nobody."""


class Network:
    """Carries bytes between addresses; a receiver that is down hears nothing."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.weather = Weather()
        self._receivers: dict[Address, Receive] = {}
        self.sent = 0
        self.lost = 0

    def attach(self, address: Address, receive: Receive) -> None:
        """Take messages for this address from now on."""
        self._receivers[address] = receive

    def detach(self, address: Address) -> None:
        """The program at this address is gone."""
        self._receivers.pop(address, None)

    def send(self, source: Address, target: Address, data: bytes) -> None:
        """Send once; it arrives never, once or several times."""
        rng, weather = self._world.rng, self.weather
        self.sent += 1
        if {source, target} & weather.cut or rng.random() < weather.loss:
            self.lost += 1
            return
        self._deliver(source, target, data, rng.expovariate(1.0 / weather.delay_s))
        while rng.random() < weather.repeat:
            self._deliver(source, target, data, rng.uniform(0.0, REPEAT_LATE_S))

    def _deliver(self, source: Address, target: Address, data: bytes, delay_s: float) -> None:
        def arrive() -> None:
            receive = self._receivers.get(target)
            if receive is not None and not {source, target} & self.weather.cut:
                receive(source, data)

        self._world.after(delay_s, arrive)
