"""The command line that puts Ray below a task's command, from its order. Pure."""

import json
import re
from pathlib import Path

from wattline_agent.executor.tasklib import ray_launcher
from wattline_protocol.wire.task_order import TaskOrder

_PYTHON = re.compile(r"python(\d+(\.\d+)?)?$")
OWN_INTERPRETER = "python3"


def ray_argv(order: TaskOrder, tasklib: Path) -> tuple[str, ...]:
    """The launcher runs in the interpreter of the command, which has Ray."""
    first, meet = order.command[0], order.rendezvous
    interpreter = first if _PYTHON.fullmatch(Path(first).name) else OWN_INTERPRETER
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
