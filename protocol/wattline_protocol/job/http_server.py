"""`[service] http`: the command is an HTTP server, which a bridge makes a worker.

The agent starts the bridge with its own interpreter, so that a server needs neither Python nor
Wattline. An order names it by the word BRIDGE: an agent of an earlier release, which does not know
it, reports that there is no such command.
"""

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import msgspec

from wattline_protocol.job import values
from wattline_protocol.job.spec import MAX_HTTP_CAPACITY, METHODS, HttpServer, JobSpec
from wattline_protocol.text.toml_fields import Reader, choice, nearest, texts, whole

BRIDGE = "wattline-bridge"
"""First word of an order's command that is the bridge's arguments."""

WORKER_MODULE = "wattline_runtime.serve"
BRIDGE_MODULE = f"{WORKER_MODULE}.bridge"

_PATH = re.compile(r"/[!-~]{0,199}")


def bridge_command(server: HttpServer, command: Sequence[str]) -> tuple[str, ...]:
    """The command of an order: the bridge around the server's own."""
    return (
        BRIDGE,
        f"--health={server.health}",
        f"--infer-path={server.infer_path}",
        f"--methods={','.join(server.methods)}",
        f"--capacity={server.capacity}",
        "--",
        *command,
    )


def is_worker(command: Sequence[str]) -> bool:
    """Whether it connects to the gateways by itself, as far as its words show."""
    modules = {after for before, after in pairwise(command) if before == "-m"}
    return command[0] == BRIDGE or bool(modules & {WORKER_MODULE, BRIDGE_MODULE})


def needs_gateway(spec: JobSpec) -> bool:
    """Whether its tasks end at once where no gateway is enrolled, as far as its words show."""
    if spec.kind != "service" or not spec.command:
        return False
    if spec.service is not None and spec.service.http is not None:
        return True
    has_its_own = any(word.startswith("--gateway") for word in spec.command)
    return is_worker(spec.command) and not has_its_own


def http_server(value: object) -> dict[str, object]:
    """{ health = "/health", methods = ["chat"] }; as a flag health=/health,methods=chat embed."""
    table = values.pairs(value) if isinstance(value, str) else value
    if not isinstance(table, Mapping):
        raise ValueError('expected { health = "/health" }, as a flag health=/health')
    found: dict[str, object] = {}
    for key, given in table.items():
        if key not in _READERS:
            near = nearest(str(key), _READERS)
            hint = f'did you mean "{near}"?' if near else f"keys are {', '.join(_READERS)}"
            raise ValueError(f"no key {key}; {hint}")
        try:
            found[key] = _READERS[key](given)
        except ValueError as error:
            raise ValueError(f"{key}: {error}") from error
    return found


def http_table(server: Mapping[str, Any]) -> dict[str, object]:
    """The form in a job file, for `http_server`: the health check, and what is not the default."""
    default = msgspec.to_builtins(HttpServer())
    return {k: v for k, v in server.items() if v != default[k] or k == "health"}


def http_path(value: object) -> str:
    """A path of an HTTP server."""
    if not isinstance(value, str) or not _PATH.fullmatch(value):
        raise ValueError('expected a path such as "/health": "/" and ASCII without spaces')
    return value


def methods(value: object) -> tuple[str, ...]:
    """Names of methods, in a list or a text."""
    named = tuple(value.replace(",", " ").split()) if isinstance(value, str) else value
    chosen = tuple(map(choice(*METHODS), texts(len(METHODS))(named)))
    if len(set(chosen)) < len(chosen):
        raise ValueError("each method may occur once")
    return chosen


def _capacity(value: object) -> int:
    is_digits = isinstance(value, str) and re.fullmatch(r"[0-9]{1,9}", value)
    return whole(1, MAX_HTTP_CAPACITY)(int(str(value)) if is_digits else value)


_READERS: dict[str, Reader[object]] = {
    "health": http_path,
    "infer_path": http_path,
    "methods": methods,
    "capacity": _capacity,
}
