"""The only thread that calls the model: loads it, then runs batches and generations in turns."""

import gc
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from queue import Empty, SimpleQueue

from wattline_runtime.serve.batcher import BatchBroke, BatchEnded, Failed, Item, Key, OutOfMemory
from wattline_runtime.serve.calls import CallEnded, Calls, ChunkMade
from wattline_runtime.serve.generations import Call
from wattline_runtime.serve.model import (
    Model,
    ModelOutOfMemory,
    free_memory,
    print_traceback,
    run_batch,
)
from wattline_runtime.serve.warm_up import WarmUp, warm_up
from wattline_runtime.wire import MAX_DETAIL_CHARS


@dataclass(frozen=True, slots=True)
class ModelLoading:
    """What the model reports while it loads."""

    progress: str


@dataclass(frozen=True, slots=True)
class ModelLoaded:
    """The model is ready for its first batch."""

    model: Model
    warm_up: WarmUp


@dataclass(frozen=True, slots=True)
class ModelDied:
    """Loading failed, or the model ended its own thread; the worker cannot continue."""

    detail: str


News = (
    ModelLoading
    | ModelLoaded
    | ModelDied
    | BatchEnded
    | BatchBroke
    | OutOfMemory
    | ChunkMade
    | CallEnded
)


@dataclass(frozen=True, slots=True)
class _Release:
    """A client has read so many chunks."""

    key: Key
    count: int


@dataclass(frozen=True, slots=True)
class _End:
    """This call is no longer needed."""

    key: Key


class _Stop:
    """End the thread."""


_Command = tuple[Item, ...] | Call | _Release | _End | _Stop


class ModelThread:
    """Owner of the model. Calls `post` from this thread with each event."""

    def __init__(
        self,
        model: Model,
        args: Mapping[str, str],
        post: Callable[[News], None],
        *,
        torch_threads: int,
        max_batch_cost: int,
    ) -> None:
        self._max_batch_cost = max_batch_cost
        self._model = model
        self._args = args
        self._post = post
        self._torch_threads = torch_threads
        self._calls = Calls(model, post)
        self._commands: SimpleQueue[_Command] = SimpleQueue()
        self.stepping_since_s: float | None = None
        """Since when the generations have been taking their newest step; None: none is."""
        # Daemon: a model that hangs must not keep a stopped worker alive.
        self._thread = threading.Thread(target=self._run, name="model", daemon=True)

    def start(self) -> None:
        """Begin loading; returns at once."""
        self._thread.start()

    def submit(self, items: tuple[Item, ...]) -> None:
        """Run a batch; the batcher ensures that there is one at a time."""
        self._commands.put(items)

    def call(self, call: Call) -> None:
        """Start a generation."""
        self._commands.put(call)

    def release(self, key: Key, count: int) -> None:
        """The client of a stream has read so many chunks."""
        self._commands.put(_Release(key, count))

    def end(self, key: Key) -> None:
        """End a generation before its next piece."""
        self._commands.put(_End(key))

    def stop(self, timeout_s: float) -> bool:
        """Request the thread to end. False: it is still busy after `timeout_s`."""
        self._commands.put(_Stop())
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self._load()
            while self._turn():
                pass
        except BaseException as error:  # includes SystemExit from user code: the worker must know
            print_traceback(error)
            self._post(ModelDied(f"{type(error).__name__}: {error}"))

    def _turn(self) -> bool:
        """All commands, then a piece of each generation. False: the thread is to end."""
        for command in self._waiting_commands():
            if isinstance(command, tuple):
                self._post(self._batch(command))
            elif isinstance(command, Call):
                self._calls.start(command)
            elif isinstance(command, _Release):
                self._calls.release(command.key, command.count)
            elif isinstance(command, _End):
                self._calls.end(command.key)
            else:
                return False
        if self._calls.can_step:
            self.stepping_since_s = time.monotonic()
            self._calls.step()
            self.stepping_since_s = None
        return True

    def _batch(self, items: tuple[Item, ...]) -> BatchEnded | BatchBroke | OutOfMemory:
        try:
            result = run_batch(self._model, [item.value for item in items])
        except ModelOutOfMemory:
            free_memory()
            return OutOfMemory()
        return BatchBroke(result) if isinstance(result, Failed) else BatchEnded(result)

    def _waiting_commands(self) -> Iterator[_Command]:
        """All that have come; waits for one while no generation can continue."""
        try:
            if not self._calls.can_step:
                yield self._commands.get()
            while True:
                yield self._commands.get_nowait()
        except Empty:
            return

    def _load(self) -> None:
        self._limit_torch()
        loading = self._model.load(self._args)
        if isinstance(loading, Iterator):
            for progress in loading:
                self._post(ModelLoading(str(progress)[:MAX_DETAIL_CHARS]))
        self._limit_torch()
        warmed = warm_up(self._model, self._max_batch_cost)
        # What is loaded stays: without this a collection of it holds up a request now and then, and
        # the end of the process by seconds.
        gc.collect()
        gc.freeze()
        self._post(ModelLoaded(self._model, warmed))

    def _limit_torch(self) -> None:
        """Limit torch to its share of the node. Before and after load, which may import it."""
        torch = sys.modules.get("torch")
        if torch is not None:
            torch.set_num_threads(self._torch_threads)
