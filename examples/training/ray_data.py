"""A pipeline of Ray Data over the nodes of a job: rows are read, mapped in batches and summed.

wattline submit ray_data.toml       # in this directory, with ray[data] installed
python ray_data.py                  # without Wattline
"""

import argparse
from typing import Any

import ray

from wattline import task

BLOCKS = 8


def squared(batch: dict[str, Any]) -> dict[str, Any]:
    """One batch, with the node that it was mapped on."""
    node = ray.get_runtime_context().get_node_id()
    return {"square": batch["id"] ** 2, "node": [node] * len(batch["id"])}


def main() -> None:
    """Sum of the squares, and how many nodes took part."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000)
    options = parser.parse_args()
    rows = ray.data.range(options.rows, override_num_blocks=BLOCKS).map_batches(squared)
    found = rows.materialize()
    nodes, total = len(found.unique("node")), int(found.sum("square"))
    expected = (options.rows - 1) * options.rows * (2 * options.rows - 1) // 6
    if total != expected:
        raise SystemExit(f"the sum is {total}, not {expected}")
    task.metric(rows=options.rows, nodes=nodes)
    print(f"sum of {options.rows} squares {total}, on {nodes} of {len(ray.nodes())} nodes")


if __name__ == "__main__":
    main()
