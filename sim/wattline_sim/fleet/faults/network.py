"""Messages lost, repeated, late, overtaken, and ways cut in both directions or in one."""

from typing import TYPE_CHECKING

from wattline_protocol.ids import NodeId
from wattline_sim.fleet.agent_shell import SCHEDULER
from wattline_sim.fleet.network import CALM_DELAY_S, Way

if TYPE_CHECKING:
    from wattline_sim.fleet.faults.schedule import Faults


def _drop(faults: "Faults") -> str:
    weather = faults.site.network.weather
    weather.loss = faults.rng.uniform(0.05, 0.7)
    faults.lasting(1.0, 15.0, lambda: setattr(weather, "loss", 0.0))
    return f"{weather.loss:.0%}"


def _repeat(faults: "Faults") -> str:
    weather = faults.site.network.weather
    weather.repeat = faults.rng.uniform(0.05, 0.5)
    faults.lasting(1.0, 15.0, lambda: setattr(weather, "repeat", 0.0))
    return f"{weather.repeat:.0%}"


def _delay(faults: "Faults") -> str:
    weather = faults.site.network.weather
    weather.delay_s = faults.rng.choice([0.05, 0.3, 1.0])
    faults.lasting(1.0, 15.0, lambda: setattr(weather, "delay_s", CALM_DELAY_S))
    return f"{weather.delay_s} s"


def _reorder(faults: "Faults") -> str:
    weather = faults.site.network.weather
    weather.overtaken = faults.rng.uniform(0.1, 0.6)
    faults.lasting(1.0, 15.0, lambda: setattr(weather, "overtaken", 0.0))
    return f"{weather.overtaken:.0%}"


def _cut(faults: "Faults", ways: list[Way]) -> None:
    weather = faults.site.network.weather
    weather.cut.update(ways)
    faults.lasting(1.0, 40.0, lambda: weather.cut.subtract(ways))


def cut_off(faults: "Faults", node: NodeId, for_s: float) -> None:
    """The node and the scheduler do not hear each other for so long."""
    weather, ways = faults.site.network.weather, _both_ways(node)
    weather.cut.update(ways)
    faults.undo_after(for_s, lambda: weather.cut.subtract(ways))


def _both_ways(node: NodeId) -> list[Way]:
    return [(node, SCHEDULER), (SCHEDULER, node)]


def _partition(faults: "Faults") -> str:
    node = faults.some_node()
    _cut(faults, _both_ways(node))
    return node


def _one_way_partition(faults: "Faults") -> str:
    source, target = faults.rng.choice(_both_ways(faults.some_node()))
    _cut(faults, [(source, target)])
    return f"{source} cannot reach {target}"


def _split(faults: "Faults") -> str:
    nodes = [node for node in sorted(faults.site.machines) if faults.rng.random() < 0.5]
    _cut(faults, [way for node in nodes for way in _both_ways(node)])
    return ", ".join(nodes)


KINDS = {
    "drop": _drop,
    "repeat": _repeat,
    "delay": _delay,
    "reorder": _reorder,
    "partition": _partition,
    "one-way partition": _one_way_partition,
    "split": _split,
}
