"""The only thread that calls the model: loads it, then runs one batch after the other."""

import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from queue import SimpleQueue

from wattline_runtime.serve.batcher import BatchBroke, BatchEnded, Failed, Item
from wattline_runtime.serve.model import Model, print_traceback, run_batch


@dataclass(frozen=True, slots=True)
class ModelLoaded:
    """The model is ready for its first batch."""

    model: Model


@dataclass(frozen=True, slots=True)
class ModelDied:
    """Loading failed, or the model ended its own thread; the worker cannot continue."""

    detail: str


News = ModelLoaded | ModelDied | BatchEnded | BatchBroke


class ModelThread:
    """Owner of the model. Calls `post` from this thread with each event."""

    def __init__(
        self,
        model: Model,
        args: Mapping[str, str],
        post: Callable[[News], None],
        *,
        torch_threads: int,
    ) -> None:
        self._model = model
        self._args = args
        self._post = post
        self._torch_threads = torch_threads
        self._batches: SimpleQueue[tuple[Item, ...] | None] = SimpleQueue()
        # Daemon: a model that hangs must not keep a stopped worker alive.
        self._thread = threading.Thread(target=self._run, name="model", daemon=True)

    def start(self) -> None:
        """Begin loading; returns at once."""
        self._thread.start()

    def submit(self, items: tuple[Item, ...]) -> None:
        """Run a batch; the batcher ensures that there is one at a time."""
        self._batches.put(items)

    def stop(self, timeout_s: float) -> bool:
        """Request the thread to end. False: it is still busy after `timeout_s`."""
        self._batches.put(None)
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self._load()
            while (items := self._batches.get()) is not None:
                result = run_batch(self._model, [item.value for item in items])
                self._post(BatchBroke(result) if isinstance(result, Failed) else BatchEnded(result))
        except BaseException as error:  # includes SystemExit from user code: the worker must know
            print_traceback(error)
            self._post(ModelDied(f"{type(error).__name__}: {error}"))

    def _load(self) -> None:
        self._limit_torch()
        self._model.load(self._args)
        self._limit_torch()
        self._post(ModelLoaded(self._model))

    def _limit_torch(self) -> None:
        """Limit torch to its share of the node. Before and after load, which may import it."""
        torch = sys.modules.get("torch")
        if torch is not None:
            torch.set_num_threads(self._torch_threads)
