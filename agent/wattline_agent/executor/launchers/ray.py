"""The command line that puts Ray below a task's command, from its order. Pure."""

import json
from pathlib import Path

from wattline_agent.executor.tasklib import ray_launcher
from wattline_protocol.wire.task_order import TaskOrder


def ray_argv(order: TaskOrder, interpreter: str, tasklib: Path) -> tuple[str, ...]:
    """`interpreter`: that of the command, which has Ray."""
    meet = order.rendezvous
    plan = {
        "host": meet.host if meet else "127.0.0.1",
        "port": meet.port if meet else 0,
        "node_rank": meet.node_rank if meet else 0,
        "nodes": meet.nodes if meet else 1,
        "gpus": len(order.gpus),
        "cpus": order.cpus or (0 if order.gpus else 1),
        "memory_bytes": order.memory_bytes,
    }
    return (interpreter, ray_launcher(tasklib), json.dumps(plan), *order.command)
