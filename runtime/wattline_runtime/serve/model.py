"""Interface of a user's model class: how it is found and how it is run."""

import importlib
import importlib.util
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from math import isfinite
from pathlib import Path
from typing import Any, Protocol, cast

import msgspec

from wattline_runtime.serve.batcher import Failed, Outcome, Output
from wattline_runtime.wire import MAX_DETAIL_CHARS, MAX_ITEM_BYTES

MAX_MEASURE = 10**9
"""Largest cost or length that counts."""


class InputRefused(ValueError):
    """Raised or returned by a model for an invalid input; the client reads the text."""


class ModelNotFound(ValueError):
    """The `--model` text names no usable class; the text reports what was tried."""


class Model(Protocol):
    """A class that the worker serves. One instance, called by one thread only.

    Optional: `cost(item) -> int`, the item's part of a batch's budget (at least 1), and
    `length(item) -> int`, which determines padding. Both run before queueing and must be cheap.
    `allow_nan = True`: NaN and infinity in an output become null; otherwise they fail the request.
    """

    def load(self, args: Mapping[str, str]) -> None:
        """Load weights, warm up. Raising ends the worker."""

    def predict(self, batch: list[Any]) -> list[Any]:
        """One output an input, in order, each a JSON value or with `tolist()`.

        Raise `InputRefused`, or return one in an output's place, for an invalid input.
        """


def find_model(reference: str) -> type[Model]:
    """The class named by `package.module:Class` or `path/to/file.py:Class`.

    Raises ModelNotFound; errors inside the user's module are passed through.
    """
    where, colon, name = reference.rpartition(":")
    if not colon or not where or not name:
        raise ModelNotFound(
            f"--model {reference!r} is not of the form package.module:Class or file.py:Class"
        )
    module = _module_from_file(Path(where)) if where.endswith(".py") else _module_named(where)
    found = getattr(module, name, None)
    if not isinstance(found, type):
        raise ModelNotFound(f"{where} has no class {name}")
    missing = [m for m in ("load", "predict") if not callable(getattr(found, m, None))]
    if missing:
        raise ModelNotFound(f"class {name} in {where} has no method {' and no '.join(missing)}")
    return cast("type[Model]", found)


def _module_named(name: str) -> object:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(error.name + ".")):
            raise ModelNotFound(f"there is no module {name} on this task's path") from error
        raise  # a module that the user's module needs: its own message is more specific


def _module_from_file(path: Path) -> object:
    if not path.is_file():
        raise ModelNotFound(f"there is no file {path}")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ModelNotFound(f"{path} cannot be loaded as a Python module")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def measure(model: Model, value: object) -> tuple[int, int]:
    """Cost and length of one input. Errors of the model's functions are passed through."""
    cost_of: Callable[[object], int] | None = getattr(model, "cost", None)
    length_of: Callable[[object], int] | None = getattr(model, "length", None)
    cost = 1 if cost_of is None else max(1, int(cost_of(value)))
    length = 0 if length_of is None else max(0, int(length_of(value)))
    return min(cost, MAX_MEASURE), min(length, MAX_MEASURE)


def run_batch(model: Model, values: list[object]) -> tuple[Outcome, ...] | Failed:
    """Run the model; one outcome an input, or one failure for the batch as a whole."""
    try:
        with _inference_mode():
            outputs = model.predict(values)
    except InputRefused as error:
        return Failed("bad_input", str(error)[:MAX_DETAIL_CHARS])
    except Exception as error:
        # The text stays in the worker's log: it may contain what a client must not see.
        print_traceback(error)
        return Failed("model_error", f"the model raised {type(error).__name__}")
    if not isinstance(outputs, list) or len(outputs) != len(values):
        got = f"{len(outputs)} outputs" if isinstance(outputs, list) else type(outputs).__name__
        return Failed("model_error", f"the model returned {got} for a batch of {len(values)}")
    allow_nan = getattr(model, "allow_nan", False) is True
    return tuple(_encode(output, allow_nan=allow_nan) for output in outputs)


def print_traceback(error: BaseException) -> None:
    """Write the traceback of a user's code to the task's log, where its author will read it."""
    import traceback

    traceback.print_exception(error, file=sys.stderr)


def _encode(output: object, *, allow_nan: bool) -> Outcome:
    if isinstance(output, InputRefused):
        return Failed("bad_input", str(output)[:MAX_DETAIL_CHARS])
    try:
        body = msgspec.json.encode(output, enc_hook=_plain)
    except (TypeError, ValueError, RecursionError) as error:
        return Failed("model_error", f"an output is not JSON: {error}"[:MAX_DETAIL_CHARS])
    if len(body) > MAX_ITEM_BYTES:
        return Failed("output_too_large", f"{len(body)} bytes, at most {MAX_ITEM_BYTES} allowed")
    # NaN and infinity are encoded as null, so most outputs need no walk.
    if not allow_nan and b"null" in body and _has_nan(output):
        return Failed(
            "model_error", "an output contains NaN or infinity, which JSON cannot express"
        )
    return Output(body)


def _has_nan(output: object) -> bool:
    """Whether any number of an output that has a JSON form is NaN or infinite."""
    left: list[object] = [msgspec.to_builtins(output, enc_hook=_plain)]
    while left:
        value = left.pop()
        if isinstance(value, dict):
            left.extend(value.values())
        elif isinstance(value, list | tuple):
            left.extend(value)
        elif isinstance(value, float) and not isfinite(value):
            return True
    return False


def _plain(value: Any) -> object:
    """Arrays and tensors as lists."""
    to_list = getattr(value, "tolist", None)
    if to_list is None:
        raise TypeError(f"{type(value).__name__} has no JSON form")
    return to_list()


def _inference_mode() -> AbstractContextManager[object]:
    """Torch without gradients, if the model imported torch; a small model need not."""
    torch = sys.modules.get("torch")
    return nullcontext() if torch is None else torch.inference_mode()
