"""Everything that a resumed run needs, so that it continues as if it had not been interrupted.

    state = State(model=net, optimizer=optimizer, schedule=schedule, data=loader)
    with task.stoppable(), join_gang() as gang:
        for step in range(state.resume() + 1, 1_000):
            train_one_step()
            is_due = gang.any(gang.is_first and task.should_checkpoint())
            is_stopping = gang.any(task.stop_requested())
            if is_due or is_stopping:
                state.save(step)
            if is_stopping:
                break

Only the first rank's clock knows of its saves: one of another rank would be due at every step. A
part is whatever has `state_dict` and `load_state_dict`. The generators of random numbers of Python,
NumPy and torch are saved with them, those of every rank.
"""

import random
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, Protocol, TypeVar

import torch
import torch.distributed as dist

from wattline import task

T = TypeVar("T")

MAX_DIFFERENCES_SHOWN = 3


class Part(Protocol):
    """A model, an optimiser, a schedule, or a position in the data."""

    def state_dict(self) -> dict[str, Any]:
        """All that it needs to continue."""

    def load_state_dict(self, state_dict: dict[str, Any], /) -> object:
        """Continue from there."""


class State:
    """Named parts of a run, saved and restored together. All ranks of a gang call its methods."""

    def __init__(self, **parts: Part) -> None:
        """`model` is also checked for its shape: a checkpoint of another one is passed over."""
        self._parts = parts

    def save(
        self, step: int, *, keep: int = 3, keep_every: int = 0, background: bool = True
    ) -> None:
        """Save after `step`; the first rank writes. See `task.saving`."""
        rngs = _gathered(rng_state())
        if rngs is None:
            return
        parts = {name: part.state_dict() for name, part in self._parts.items()}
        with task.saving(step, keep=keep, keep_every=keep_every, background=background) as path:
            torch.save({"parts": parts, "rngs": rngs}, path)

    def resume(self, *, from_scratch: bool | None = None) -> int:
        """Restore the newest checkpoint that fits, and return its step; 0 if there is none.

        Raises CheckpointError when there are checkpoints and none can be used; see `task.latest`.
        """
        found = agreed(lambda: task.latest(fits=self._why_not, from_scratch=from_scratch))
        if found is None:
            return 0
        saved = torch.load(found.path, map_location="cpu", weights_only=True)
        for name, part in self._parts.items():
            part.load_state_dict(saved["parts"][name])
        rngs = saved["rngs"]
        if len(rngs) == _world_size():
            set_rng_state(rngs[_rank()])
        else:  # other numbers than in a run without an interruption, and different on each rank
            random.seed(f"{found.step} {_rank()}")
            torch.manual_seed(random.getrandbits(63))
        return found.step

    def _why_not(self, found: task.Checkpoint) -> str:
        """Reads names and shapes only."""
        try:
            saved = torch.load(found.path, map_location="meta", weights_only=True)["parts"]
        except Exception as error:  # of any kind: whatever a foreign file makes torch raise
            return f"it is no checkpoint of State: {type(error).__name__}"
        if missing := set(self._parts) - set(saved):
            return f"it lacks {', '.join(sorted(missing))}"
        model = self._parts.get("model")
        return "" if model is None else differences(saved["model"], model.state_dict())


def differences(saved: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """How two models differ by names and shapes of their tensors; empty = they do not."""
    there, here = _shapes(saved), _shapes(wanted)
    found = [
        f"{name} is {there.get(name, 'missing')}, not {here.get(name, 'unknown')}"
        for name in sorted({*there, *here})
        if there.get(name) != here.get(name)
    ]
    if not found:
        return ""
    more = len(found) - MAX_DIFFERENCES_SHOWN
    shown = "; ".join(found[:MAX_DIFFERENCES_SHOWN]) + (f"; {more} more" if more > 0 else "")
    return f"its model has another shape: {shown}"


def _shapes(state: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(v.shape) for name, v in state.items() if torch.is_tensor(v)}


def rng_state() -> dict[str, Any]:
    """Of Python, NumPy where it is loaded, torch, and each CUDA device, as plain values."""
    states: dict[str, Any] = {"python": random.getstate(), "torch": torch.get_rng_state()}
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        kind, keys, *rest = numpy.random.get_state()
        states["numpy"] = (kind, keys.tolist(), *rest)
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state_all()
    return states


def set_rng_state(states: dict[str, Any]) -> None:
    """The reverse; generators that this process lacks are left out."""
    version, internal, gauss = states["python"]
    random.setstate((version, tuple(internal), gauss))
    torch.set_rng_state(states["torch"])
    if "numpy" in states:
        numpy = import_module("numpy")  # the program that saved had loaded it
        numpy.random.set_state(states["numpy"])
    if "cuda" in states and len(states["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(states["cuda"])


def agreed(choose: Callable[[], T]) -> T:
    """What the first rank chooses, on every rank; its CheckpointError as well."""
    box: list[Any] = [None, ""]
    if _rank() == 0:
        try:
            box[0] = choose()
        except task.CheckpointError as error:
            box[1] = str(error)
    if _world_size() > 1:
        dist.broadcast_object_list(box, src=0)
    if box[1]:
        raise task.CheckpointError(box[1])
    chosen: T = box[0]
    return chosen


def _gathered(value: T) -> list[T] | None:
    """The value of each rank, on the first; None on the others."""
    if _world_size() == 1:
        return [value]
    values: list[Any] | None = [None] * _world_size() if _rank() == 0 else None
    dist.gather_object(value, values, dst=0)
    return values


def _rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def _world_size() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1
