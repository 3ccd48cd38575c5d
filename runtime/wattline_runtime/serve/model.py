"""Interface of a user's model class: how it is found and how it is run."""

import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any, Protocol, cast

import msgspec

from wattline_protocol.job.spec import METHODS
from wattline_runtime.serve.batcher import Failed, Outcome, Output
from wattline_runtime.serve.openai import embedding_texts, embeddings
from wattline_runtime.wire import (
    EMBED,
    MAX_DETAIL_CHARS,
    MAX_ITEM_BYTES,
    PREDICT,
    Infer,
)

MAX_MEASURE = 10**9
"""Largest cost or length that counts."""


class InputRefused(ValueError):
    """Raised or returned by a model for an invalid input; the client reads the text."""


class ModelOutOfMemory(Exception):
    """A batch was too large for the memory of its device."""


class ModelRaised(Exception):
    """A method of the model raised this."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


class ModelNotFound(ValueError):
    """The `--model` text names no usable class; the text reports what was tried."""


class Model(Protocol):
    """A class that the worker serves. One instance, called by one thread only.

    It offers at least one of these methods, and thereby the route in brackets:

    * `predict(batch) -> list` (`/v1/services/NAME/infer`): one output an input, in order, each a
      JSON value or with `tolist()`. Raise `InputRefused`, or return one in an output's place, for
      an invalid input.
    * `chat(request)` (`/v1/chat/completions`) and `complete(request)` (`/v1/completions`): from
      the request's body text, or a generator of pieces of text; `openai.Finish` is what it counted.
    * `embed(texts) -> list` (`/v1/embeddings`): one vector a text.

    Optional: `cost(item) -> int`, the item's part of a batch's budget (at least 1), and
    `length(item) -> int`, which determines padding. Both run before queueing and must be cheap.
    `allow_nan = True`: NaN and infinity in an output become null; otherwise they fail the request.
    `takes_bytes = True`: a body of bytes reaches `predict` as bytes, and outputs may be bytes.
    `example() -> list`: inputs of `predict` (else of `embed`, else of `chat` or `complete`) that
    run before the worker is ready. `concurrency = 8`: generations at once. `tokens(text) -> int`
    counts those of embedded texts. `compare(old, new) -> bool`: whether two outputs are equal,
    for `wattline rollout --shadow … --compare model`.
    """

    def load(self, args: Mapping[str, str]) -> Iterator[str] | None:
        """Load weights; may yield texts that report its progress. Raising ends the worker."""


def find_model(reference: str) -> type[Model]:
    """The class named by `package.module:Class` or `path/to/file.py:Class`, or that of a program
    of `torch.export` in `path/to/file.pt2`.

    Raises ModelNotFound; errors inside the user's module are passed through.
    """
    if reference.endswith(".pt2"):
        if not Path(reference).is_file():
            raise ModelNotFound(f"there is no file {reference}")
        exported = importlib.import_module("wattline_runtime.serve.exported")
        return cast("type[Model]", exported.model_of(Path(reference)))
    where, colon, name = reference.rpartition(":")
    if not colon or not where or not name:
        raise ModelNotFound(
            f"--model {reference!r} is not of the form package.module:Class, file.py:Class or "
            "file.pt2"
        )
    module = _module_from_file(Path(where)) if where.endswith(".py") else _module_named(where)
    found = getattr(module, name, None)
    if not isinstance(found, type):
        raise ModelNotFound(f"{where} has no class {name}")
    missing = [] if callable(getattr(found, "load", None)) else ["load"]
    missing += [] if offered(found) else [", ".join(METHODS[:-1]) + f" or {METHODS[-1]}"]
    if missing:
        raise ModelNotFound(f"class {name} in {where} has no method {' and no '.join(missing)}")
    return cast("type[Model]", found)


def offered(model: object) -> tuple[str, ...]:
    """Methods for requests that a model has."""
    return tuple(method for method in METHODS if callable(getattr(model, method, None)))


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


@dataclass(frozen=True, slots=True)
class Embedding:
    """An input of `embed`: the texts of one request."""

    request: dict[str, Any]
    texts: list[str]


def decode_input(message: Infer) -> object:
    """The value that the model gets. Raises as msgspec does, and ValueError."""
    if message.is_bytes:
        return bytes(message.input)
    value = msgspec.json.decode(message.input)
    return Embedding(value, embedding_texts(value)) if message.method == EMBED else value


def measure(model: Model, value: object) -> tuple[int, int]:
    """Cost and length of one input. Errors of the model's functions are passed through."""
    if isinstance(value, Embedding):
        sizes = [measure(model, text) for text in value.texts]
        return sum(cost for cost, _ in sizes), max(length for _, length in sizes)
    cost_of: Callable[[object], int] | None = getattr(model, "cost", None)
    length_of: Callable[[object], int] | None = getattr(model, "length", None)
    cost = 1 if cost_of is None else max(1, int(cost_of(value)))
    length = 0 if length_of is None else max(0, int(length_of(value)))
    return min(cost, MAX_MEASURE), min(length, MAX_MEASURE)


def run_batch(model: Model, values: list[object]) -> tuple[Outcome, ...] | Failed:
    """Run the model; one outcome an input, or one failure for the batch as a whole. Raises
    ModelOutOfMemory."""
    try:
        return outcomes_of(model, values)
    except ModelRaised as raised:
        # The text stays in the worker's log: it may contain what a client must not see.
        print_traceback(raised.error)
        return Failed("model_error", f"the model raised {type(raised.error).__name__}")


def outcomes_of(model: Model, values: list[object]) -> tuple[Outcome, ...] | Failed:
    """As `run_batch`. Raises ModelRaised too."""
    texts = [value for value in values if isinstance(value, Embedding)]
    if not texts:
        return _predict(model, values)
    embedded = _embed(model, texts)
    others = [value for value in values if not isinstance(value, Embedding)]
    predicted = _predict(model, others) if others else ()
    if isinstance(embedded, Failed):
        return embedded
    if isinstance(predicted, Failed):
        return predicted
    left = {True: iter(embedded), False: iter(predicted)}
    return tuple(next(left[isinstance(value, Embedding)]) for value in values)


def _embed(model: Model, requests: list[Embedding]) -> tuple[Outcome, ...] | Failed:
    """All texts of all requests in one call."""
    texts = [text for request in requests for text in request.texts]
    vectors = _call(model, EMBED, texts)
    if isinstance(vectors, Failed):
        return vectors
    rows = iter(vectors)
    return tuple(_embeddings(model, one, [next(rows) for _ in one.texts]) for one in requests)


def _embeddings(model: Model, request: Embedding, vectors: list[Any]) -> Outcome:
    count_tokens: Callable[[str], int] | None = getattr(model, "tokens", None)
    try:
        tokens = sum(map(count_tokens, request.texts)) if count_tokens else 0
    except Exception as error:
        raise ModelRaised(error) from error
    try:
        rows = [msgspec.to_builtins(vector, enc_hook=_plain) for vector in vectors]
        if not all(isfinite(x) for row in rows for x in row):
            return Failed("model_error", "an embedding contains NaN or infinity")
        body = embeddings(request.request, rows, tokens)
    except (TypeError, ValueError, OverflowError) as error:
        return Failed("model_error", f"an embedding must be a vector: {error}"[:MAX_DETAIL_CHARS])
    if len(body) > MAX_ITEM_BYTES:
        return Failed("output_too_large", f"{len(body)} bytes, at most {MAX_ITEM_BYTES} allowed")
    return Output(body, tokens=tokens)


def _predict(model: Model, values: list[object]) -> tuple[Outcome, ...] | Failed:
    outputs = _call(model, PREDICT, values)
    if isinstance(outputs, Failed):
        return outputs
    allow_nan = getattr(model, "allow_nan", False) is True
    may_be_bytes = getattr(model, "takes_bytes", False) is True
    return tuple(
        _bytes_output(output)
        if may_be_bytes and isinstance(output, bytes) and isinstance(value, bytes)
        else _encode(output, allow_nan=allow_nan)
        for value, output in zip(values, outputs, strict=True)
    )


def _bytes_output(output: bytes) -> Outcome:
    if len(output) > MAX_ITEM_BYTES:
        return Failed("output_too_large", f"{len(output)} bytes, at most {MAX_ITEM_BYTES} allowed")
    return Output(output, is_bytes=True)


def _call(model: Model, method: str, values: Sequence[object]) -> list[Any] | Failed:
    """One output a value, or a failure of all."""
    try:
        with inference_mode():
            outputs = getattr(model, method)(values)
    except InputRefused as error:
        return Failed("bad_input", str(error)[:MAX_DETAIL_CHARS])
    except Exception as error:
        if is_out_of_memory(error):
            raise ModelOutOfMemory from None  # without the frames, which hold its tensors
        raise ModelRaised(error) from error
    if method == EMBED and hasattr(outputs, "tolist"):  # one tensor of all vectors
        outputs = outputs.tolist()
    if not isinstance(outputs, list) or len(outputs) != len(values):
        got = f"{len(outputs)} outputs" if isinstance(outputs, list) else type(outputs).__name__
        return Failed("model_error", f"the model returned {got} for a batch of {len(values)}")
    return outputs


def is_out_of_memory(error: Exception) -> bool:
    """As torch reports it, for any device."""
    return type(error).__name__ == "OutOfMemoryError" or (
        isinstance(error, RuntimeError) and "out of memory" in str(error)
    )


def free_memory() -> None:
    """Return what torch caches to the device."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()


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


def inference_mode() -> AbstractContextManager[object]:
    """Torch without gradients, if the model imported torch; a small model need not."""
    torch = sys.modules.get("torch")
    return nullcontext() if torch is None else torch.inference_mode()
