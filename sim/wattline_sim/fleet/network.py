"""A network worse than TCP: any message may be lost, repeated, late or overtaken."""

from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from wattline_sim.fleet.world import World

Address = str
Way = tuple[Address, Address]
"""From a source to a target."""
Receive = Callable[[Address, bytes], None]

CALM_DELAY_S = 0.002
OVERTAKEN_LATE_S = 2.0
"""A message that others overtake is this much later at most."""
REPEAT_LATE_S = 30.0
"""A repeated message may arrive this much later: old messages must do no harm."""


@dataclass(slots=True)
class Weather:
    """How bad the network is now."""

    loss: float = 0.0
    repeat: float = 0.0
    delay_s: float = CALM_DELAY_S
    overtaken: float = 0.0
    """Share of messages that later ones overtake."""
    cut: Counter[Way] = field(default_factory=Counter)
    """Ways from a source to a target that carry nothing, each cut so many times."""

    def is_calm(self, ways: Collection[Way]) -> bool:
        """What is sent these ways arrives, soon and in order."""
        is_sound = self.loss == self.overtaken == 0.0 and self.delay_s <= CALM_DELAY_S
        return is_sound and not any(self.cut[way] > 0 for way in ways)


class Network:
    """Carries bytes between addresses; a receiver that is down hears nothing."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.weather = Weather()
        self._receivers: dict[Address, Receive] = {}
        self.on_send: Callable[[Address, Address, bytes], bytes] = lambda _, __, data: data
        """What is sent in place of it: a liar sits at its source."""
        self.arrived_s: dict[Address, float] = {}
        """When anything of each source last arrived."""
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
        data = self.on_send(source, target, data)
        self.sent += 1
        if weather.cut[source, target] > 0 or rng.random() < weather.loss:
            self.lost += 1
            return
        delay_s = rng.expovariate(1.0 / weather.delay_s)
        if rng.random() < weather.overtaken:
            delay_s += rng.uniform(0.0, OVERTAKEN_LATE_S)
        self._deliver(source, target, data, delay_s)
        while rng.random() < weather.repeat:
            self._deliver(source, target, data, rng.uniform(0.0, REPEAT_LATE_S))

    def _deliver(self, source: Address, target: Address, data: bytes, delay_s: float) -> None:
        def arrive() -> None:
            receive = self._receivers.get(target)
            if receive is not None and self.weather.cut[source, target] <= 0:
                self.arrived_s[source] = self._world.now_s
                receive(source, data)

        self._world.after(delay_s, arrive)
