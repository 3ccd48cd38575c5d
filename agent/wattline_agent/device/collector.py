"""Concurrent access to all GPUs of a node: a thread and a deadline each; none delays others.

A worker makes one call at a time. Once a caller has timed out on it (the driver hangs), its GPU
answers at once, with its last known state, until the call returns: nothing waits behind a call that
may never end, and a call abandoned before it began is never made.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from functools import partial
from queue import SimpleQueue
from typing import Generic, TypeVar

from wattline_agent.core.ports import (
    CapResult,
    ClockResult,
    ComputeProcess,
    DeviceEvent,
    DeviceInfo,
    Driver,
    FastReading,
    Reading,
    SlowReading,
    Stale,
    held_below,
    to_write,
)
from wattline_protocol.ids import GpuIndex

INFO_TIMEOUT_S = 5.0
"""Identity is read at start and after a reload, when drivers are slow."""
REREAD_PERIOD_S = 30.0
"""Retry interval of a GPU whose identity could not be read or has changed."""
SLOW_PERIOD_S = 15.0
EVENT_WAIT_S = 1.0
MAX_EVENTS = 1024
"""Maximum of pushed events buffered; the oldest are dropped."""
UNREADABLE_GPU_MAX_MW = 1_500_000
"""Count of a GPU whose limits are unreadable: above any board sold today."""

UNLISTED = "the reloaded driver no longer lists this GPU"

T = TypeVar("T")


def boottime_s() -> float:
    """Current CLOCK_BOOTTIME."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Call(Generic[T]):
    """One call, queued or under way in a worker."""

    def __init__(self, work: Callable[[], T]) -> None:
        self.work = work
        self.done = threading.Lock()
        """Locked until the call is done: a lock costs a third of waiting for an Event."""
        self.done.acquire()
        self.is_cancelled = False
        self.result: T | None = None
        self.error: BaseException | None = None

    def run(self) -> None:
        """Runs in the worker's thread."""
        try:
            self.result = self.work()
        except BaseException as error:
            self.error = error


class Worker:
    """The thread of one GPU."""

    def __init__(self, index: GpuIndex) -> None:
        self.index = index
        self._inbox: SimpleQueue[Call[object] | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._running_since_s: float | None = None
        self._is_given_up = False
        """A caller has timed out on the call under way, or behind it."""
        self._thread = threading.Thread(target=self._run, name=f"gpu-{index}", daemon=True)
        self._thread.start()

    def begin(self, work: Callable[[], T]) -> Call[T] | None:
        """Submit a call; None while an abandoned one is still under way. `result` waits for it."""
        if self._is_given_up:
            return None
        call = Call(work)
        self._inbox.put(call)  # type: ignore[arg-type]  # the thread only runs it
        return call

    def result(self, call: Call[T] | None, until_s: float) -> T | None:
        """Result of a call, or None when it is not available by this monotonic time: then a call
        that has not begun is never made. Raises what the call raised: a driver's errors are
        values, so that is a bug."""
        if call is None:
            return None
        if not call.done.acquire(timeout=max(0.0, until_s - time.monotonic())):
            with self._lock:
                if call.done.locked():
                    call.is_cancelled = True
                    self._is_given_up = self._running_since_s is not None
                    return None
        if call.error is not None:
            raise call.error
        return call.result

    @property
    def busy_s(self) -> float:
        """Duration so far of the call under way; 0 when there is none."""
        since_s = self._running_since_s
        return time.monotonic() - since_s if since_s is not None else 0.0

    def _run(self) -> None:
        while (call := self._inbox.get()) is not None:
            with self._lock:
                if call.is_cancelled:
                    continue
                self._running_since_s = time.monotonic()
            call.run()
            with self._lock:
                self._running_since_s = None
                self._is_given_up = False
                call.done.release()

    def stop(self, timeout_s: float) -> bool:
        """End the thread; False when it hangs in the driver and is abandoned."""
        self._inbox.put(None)
        self._thread.join(timeout_s)
        return not self._thread.is_alive()


class DriverCollector:
    """See `ports.Collector`. Called from one thread."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._began_s = boottime_s()
        self._workers = [Worker(GpuIndex(index)) for index in range(driver.count())]
        self._last_good_s = [self._began_s] * len(self._workers)
        self._slow: list[SlowReading | None] = [None] * len(self._workers)
        self._slow_due_s = [self._began_s] * len(self._workers)
        self._instance = driver.driver_instance()
        self._events: deque[DeviceEvent] = deque(maxlen=MAX_EVENTS)
        self._is_closing = threading.Event()
        self._infos: tuple[DeviceInfo, ...] = ()
        self._infos = self._read_infos()
        self._infos_of = self._instance
        self._infos_at_s = boottime_s()
        self._listener = threading.Thread(target=self._listen, name="gpu-events", daemon=True)
        self._listener.start()

    @property
    def is_simulated(self) -> bool:
        """As reported by the driver."""
        return self._driver.is_simulated

    def driver_instance(self) -> str:
        """As last read; checked with each sample."""
        return self._instance

    def gpus(self) -> tuple[DeviceInfo, ...]:
        """All GPUs; read again when the driver changed, or some could not be read or were
        repartitioned."""
        now_s = boottime_s()
        is_due = now_s - self._infos_at_s >= REREAD_PERIOD_S
        is_other = self._infos_of != self._instance or len(self._infos) != len(self._workers)
        if is_other or (is_due and self._are_outdated()):
            self._infos_of, self._infos_at_s = self._instance, now_s
            self._infos = self._read_infos()
        return self._infos

    def _are_outdated(self) -> bool:
        pairs = zip(self._infos, self._slow, strict=False)
        return any(not i.uuid or (slow is not None and slow.mig != i.mig) for i, slow in pairs)

    def sample(self, timeout_s: float) -> tuple[Reading, ...]:
        """Fast telemetry of all GPUs."""
        self._driver.driver_instance()  # checks whether all must be renewed, which a read then does
        results = self._everywhere(self._driver.read, timeout_s)
        self._instance = self._driver.driver_instance()
        if self._driver.count() > len(self._workers):
            self._add_workers()
            results = self._everywhere(self._driver.read, timeout_s)
        readings = tuple(
            reading if reading is not None else self._silent(worker.index)
            for worker, reading in zip(self._workers, results, strict=True)
        )
        for index, reading in enumerate(readings):
            if isinstance(reading, FastReading):
                self._last_good_s[index] = reading.mono_s
        self._begin_slow()
        return readings

    def process_use(
        self, gpus: Collection[GpuIndex], timeout_s: float
    ) -> dict[GpuIndex, dict[int, int]]:
        """By GPU and process, for these GPUs concurrently."""
        found = self._run({at: partial(self._driver.process_use, at) for at in gpus}, timeout_s)
        return {index: use for index, use in found.items() if use}

    def processes(
        self, gpus: Collection[GpuIndex], timeout_s: float
    ) -> dict[GpuIndex, tuple[ComputeProcess, ...]]:
        """By GPU, for these GPUs concurrently."""
        found = self._run({at: partial(self._driver.processes, at) for at in gpus}, timeout_s)
        return {index: listed for index, listed in found.items() if listed is not None}

    def slow(self) -> tuple[SlowReading | None, ...]:
        """The last error counters of each GPU, at most some periods old; None = none yet."""
        return tuple(self._slow)

    def apply_caps(
        self, caps_mw: Mapping[GpuIndex, int], timeout_s: float
    ) -> tuple[CapResult, ...]:
        """Set these caps concurrently; each result was read back."""
        return self._cap_results(
            {at: partial(self._set_cap, at, caps_mw[at]) for at in caps_mw}, timeout_s
        )

    def read_caps(self, timeout_s: float) -> tuple[CapResult, ...]:
        """Limits of all GPUs."""
        return self._cap_results(self._on_all(self._driver.read_cap), timeout_s)

    def lock_clocks(
        self, ceilings_mhz: Mapping[GpuIndex, int], timeout_s: float
    ) -> tuple[ClockResult, ...]:
        """Lock clocks of these GPUs concurrently."""
        lock = self._driver.lock_clocks
        found = self._run(
            {at: partial(lock, at, mhz) for at, mhz in ceilings_mhz.items()}, timeout_s
        )
        return tuple(
            result or ClockResult(index, ceilings_mhz[index], self._silent(index).reason)
            for index, result in found.items()
        )

    def events(self) -> tuple[DeviceEvent, ...]:
        """Events pushed since the last call."""
        found: list[DeviceEvent] = []
        while self._events:
            found.append(self._events.popleft())
        return tuple(found)

    def close(self) -> None:
        """Stop all threads that can be stopped; release the driver if none is inside it."""
        self._is_closing.set()
        are_out = [worker.stop(EVENT_WAIT_S) for worker in self._workers]
        self._listener.join(2 * EVENT_WAIT_S)
        if all(are_out) and not self._listener.is_alive():
            self._driver.close()

    # --- Workers ------------------------------------------------------------------------

    def _run(
        self, works: Mapping[GpuIndex, Callable[[], T]], timeout_s: float
    ) -> dict[GpuIndex, T | None]:
        """Results of concurrent calls, each in the worker of its GPU; see `Worker.result`."""
        until_s = time.monotonic() + timeout_s
        calls = [(index, self._workers[index].begin(work)) for index, work in works.items()]
        return {index: self._workers[index].result(call, until_s) for index, call in calls}

    def _on_all(self, read: Callable[[GpuIndex], T]) -> dict[GpuIndex, Callable[[], T]]:
        return {worker.index: partial(read, worker.index) for worker in self._workers}

    def _everywhere(self, read: Callable[[GpuIndex], T], timeout_s: float) -> list[T | None]:
        return list(self._run(self._on_all(read), timeout_s).values())

    def _add_workers(self) -> None:
        """Add workers for GPUs that the reloaded driver lists. A GPU no longer listed keeps its
        worker: it counts in full, as lost, until the agent is restarted."""
        now_s = boottime_s()
        for number in range(len(self._workers), self._driver.count()):
            self._workers.append(Worker(GpuIndex(number)))
            self._last_good_s.append(now_s)
            self._slow.append(None)
            self._slow_due_s.append(now_s)

    def _silent(self, index: GpuIndex) -> Stale:
        for_s = f"{self._workers[index].busy_s:.1f}"
        is_late = for_s == "0.0"  # it began late, or has answered since
        words = "did not answer in time" if is_late else f"has not answered for {for_s} s"
        return Stale(index, self._last_good_s[index], f"the driver {words}")

    def _set_cap(self, index: GpuIndex, cap_mw: int) -> CapResult:
        now = self._driver.read_cap(index)
        if now.host_limit_mw == cap_mw and not now.error:
            return now
        done = self._driver.set_cap(index, to_write(now, cap_mw))
        return replace(done, held_mw=held_below(now.enforced_mw, now.host_limit_mw))

    def _cap_results(
        self, works: Mapping[GpuIndex, Callable[[], CapResult]], timeout_s: float
    ) -> tuple[CapResult, ...]:
        return tuple(
            result or CapResult(index, None, None, self._silent(index).reason)
            for index, result in self._run(works, timeout_s).items()
        )

    def _begin_slow(self) -> None:
        """Read error counters where they are due, each in its GPU's thread: all at first, then
        spread over the period, so that they do not come in bursts."""
        now_s = boottime_s()
        for worker in self._workers:
            due_s = self._slow_due_s[worker.index]
            if now_s < due_s or worker.begin(partial(self._read_slow, worker.index)) is None:
                continue
            spread = worker.index / len(self._workers) if due_s == self._began_s else 0.0
            self._slow_due_s[worker.index] = now_s + SLOW_PERIOD_S * (1.0 + spread)

    def _read_slow(self, index: GpuIndex) -> None:
        reading = self._driver.read_slow(index)
        if isinstance(reading, SlowReading):
            self._slow[index] = reading

    def _listen(self) -> None:
        while not self._is_closing.is_set():
            self._events.extend(self._driver.events(EVENT_WAIT_S))

    # --- Identity -----------------------------------------------------------------------

    def _read_infos(self) -> tuple[DeviceInfo, ...]:
        answers = self._everywhere(self._driver.info, INFO_TIMEOUT_S)
        known = [answer for answer in answers if isinstance(answer, DeviceInfo)]
        highest_mw = max((info.cap_max_mw for info in known), default=0) or UNREADABLE_GPU_MAX_MW
        listed = {info.uuid for info in known}
        unlisted = iter([info for info in self._infos if info.uuid and info.uuid not in listed])
        infos: list[DeviceInfo] = []
        for worker, answer in zip(self._workers, answers, strict=True):
            if isinstance(answer, DeviceInfo) and answer.cap_max_mw:
                infos.append(answer)
            elif worker.index >= self._driver.count() and (gone := next(unlisted, None)):
                infos.append(replace(gone, index=worker.index, can_cap=False, why_not=UNLISTED))
            else:
                infos.append(self._unreadable(worker, answer, highest_mw))
        return tuple(infos)

    def _unreadable(
        self, worker: Worker, answer: DeviceInfo | Stale | None, highest_mw: int
    ) -> DeviceInfo:
        """A GPU whose limits are unreadable counts at its neighbours' highest, never at zero."""
        if worker.index < len(self._infos) and self._infos[worker.index].uuid:
            return self._infos[worker.index]
        if isinstance(answer, DeviceInfo):
            why, uuid = answer.why_not, answer.uuid
            name, memory = answer.name, answer.memory_bytes
        else:
            why = answer.reason if answer is not None else self._silent(worker.index).reason
            uuid, name, memory = "", "unreadable GPU", 0
        return DeviceInfo(
            worker.index, uuid, name, memory, highest_mw, highest_mw, highest_mw, False, why
        )
