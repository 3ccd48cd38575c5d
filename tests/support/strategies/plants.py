"""Small sites and workloads for tests of the facility's plant."""

from wattline_sim.facility.plant import Feed, Layout, NodePlace, State, Workload, Zone

STEADY = Workload("steady", (State("work", "training_hot", 0.9, 0.9),))
OVERDRIVEN = Workload("overdriven", (State("work", "training_hot", 1.2, 1.2),))
ITERATING = Workload(
    "iterating",
    (
        State("run", "training_hot", 1.0, 0.5, 2.0, 0.75, 300.0, 0.4, (("save", 1.0),)),
        State("save", "slack", 0.1, 0.1, 1.0, 1.0, 15.0, 0.4, (("run", 1.0),)),
    ),
    level_spread=0.1,
)


def row(nodes: int = 2, *, rating_w: float = 1e6, level: str = "rack", gpu: str = "h100") -> Layout:
    """Nodes on one feed and in one zone with cooling to spare."""
    return Layout(
        nodes=(NodePlace(("row",), "room"),) * nodes,
        feeds=(Feed("row", rating_w, level),),
        zones=(Zone("room", 2, nodes * 12_000.0),),
        gpu=gpu,
    )


def redundant(nodes: int = 4, *, rating_w: float = 1e6) -> Layout:
    """Nodes with an input on each of two feeds, each feed a main above one row."""
    return Layout(
        nodes=(NodePlace(("row-a", "row-b"), "room"),) * nodes,
        feeds=(
            Feed("main-a", rating_w, "msb"),
            Feed("main-b", rating_w, "msb"),
            Feed("row-a", rating_w, "row", "main-a"),
            Feed("row-b", rating_w, "row", "main-b"),
        ),
        zones=(Zone("room", 4, nodes * 3_000.0),),
    )
