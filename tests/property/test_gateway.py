"""Whatever workers, clients and routes do: every request is answered exactly once."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from support.programs.serving import name, route
from wattline_protocol.ids import JobId
from wattline_protocol.wire.codec import MalformedMessage
from wattline_protocol.wire.rollouts import RouteSplit
from wattline_protocol.wire.routes import WorkerRoute
from wattline_runtime.gateway import events as e
from wattline_runtime.gateway.balance import hedging
from wattline_runtime.gateway.core import Gateway
from wattline_runtime.wire import (
    CHUNK_WINDOW,
    COMPARE,
    CancelInfer,
    Chunk,
    Failure,
    FrameCodec,
    FromWorker,
    Infer,
    MoreChunks,
    Reply,
    ToWorker,
    WorkerBeat,
    WorkerRefused,
)

TASKS = st.integers(1, 4)
SERVICES = ("a", "b")
HOW = ["reply", "bad_input", "model_error", "model_error", "expired", "draining"]
KINDS = (
    *(e.RequestKind(rank=rank) for rank in range(len(e.PRIORITIES))),
    e.RequestKind("chat"),
    e.RequestKind("chat", is_stream=True),
)
METHODS = [("predict",), ("predict", "chat"), ("predict", "chat")]
HEDGING_SHARE = hedging.SHARE


SPLITS = st.none() | st.builds(
    RouteSplit,
    st.sampled_from([JobId(1), JobId(2)]),
    st.sampled_from([0, 500, 999]),
    st.sampled_from([0, 500]),
    is_guarded=st.booleans(),
    is_by_model=st.booleans(),
)


def route_of(task: int) -> WorkerRoute:
    """Each service has a worker of two revisions."""
    return route(task, job=1 if task <= 2 else 2)


def service_of(task: int) -> str:
    return SERVICES[task % 2]


class GatewayMachine(RuleBasedStateMachine):
    """Four workers of two services that come, go, answer, fail, drain, and lose their routes."""

    def __init__(self) -> None:
        super().__init__()
        self.gateway = Gateway(queue_limit=4, hold_s=2.0)
        hedging.SHARE = 2
        self.now_s = 0.0
        self.submitted: dict[int, float] = {}
        self.abandoned: set[int] = set()
        self.answered: dict[int, e.Outcome] = {}
        self.held: dict[bytes, list[int]] = {}
        """What each living worker has and has not answered."""
        self.lost: Counter[int] = Counter()
        """Workers that were lost with a request."""
        self.dead: set[bytes] = set()
        self.budgets: dict[int, float] = {}
        self.kinds: dict[int, e.RequestKind] = {}
        self.tried: set[int] = set()
        """What a worker on trial got, whose loss makes nothing suspect."""
        self.unread: Counter[int] = Counter()
        """Of each stream that has begun."""
        self.methods: dict[bytes, tuple[str, ...]] = {}

    @initialize(is_known=st.booleans())
    def start(self, is_known: bool) -> None:
        """With or without routes yet."""
        if is_known:
            self.change_routes({1, 2, 3, 4}, None)

    def take(self, event: e.Event) -> None:
        for effect in self.gateway.handle(event, self.now_s):
            if isinstance(effect, e.Answer):
                self.note_answer(effect)
            elif isinstance(effect, e.Send):
                self.note_send(effect.connection, effect.message)
            elif isinstance(effect, e.SendChunk):
                self.note_chunk(effect.id)

    def note_chunk(self, number: int) -> None:
        assert number in self.submitted.keys() - self.answered.keys() - self.abandoned
        assert self.kinds[number].is_stream
        self.unread[number] += 1
        assert self.unread[number] <= CHUNK_WINDOW
        self.submitted[number] = self.now_s + self.budgets[number]

    def note_answer(self, answer: e.Answer) -> None:
        assert answer.id in self.submitted
        assert answer.id not in self.answered, "answered twice"
        assert answer.id not in self.abandoned, "answered though the client had gone"
        self.answered[answer.id] = answer.outcome

    def note_send(self, connection: bytes, message: ToWorker) -> None:
        if not isinstance(message, Infer):
            assert isinstance(message, CancelInfer | WorkerRefused | MoreChunks) or message.protocol
            return
        if message.method == COMPARE:
            assert message.id < 0
            assert message.id not in self.held.get(connection, ())
            self.held.setdefault(connection, []).append(message.id)
            return
        if message.id < 0:  # a copy
            assert -message.id in self.submitted.keys() - self.answered.keys() - self.abandoned
            self.held.setdefault(connection, []).append(message.id)
            return
        assert message.id not in self.unread, "sent elsewhere after its first chunk"
        assert message.method in self.methods[connection]
        assert self.submitted[message.id] > self.now_s, "sent after its deadline"
        assert message.id not in self.answered
        assert message.id not in self.abandoned
        self.held.setdefault(connection, []).append(message.id)
        most = 2 + (message.id in self.tried)
        assert self.lost[message.id] < most, "a third worker gets what ended two"
        worker = self.gateway.pool.workers[connection]
        if self.gateway.queue.services[worker.service].is_tried(worker):
            self.tried.add(message.id)

    @rule(tasks=st.sets(TASKS), split=SPLITS)
    def change_routes(self, tasks: set[int], split: RouteSplit | None) -> None:
        services = {
            service: tuple(route_of(t) for t in sorted(tasks) if service_of(t) == service)
            for service in SERVICES
        }
        splits = {} if split is None else dict.fromkeys(SERVICES, split)
        listed = {s: named for s, named in services.items() if named or tasks}
        self.take(e.RoutesChanged(listed, splits))
        for service in self.gateway.queue.services.values():
            service.hedging.p95_s = service.hedging.p95_s or 0.1  # as if enough had been answered

    @rule(
        task=TASKS,
        capacity=st.integers(0, 3),
        draining=st.booleans(),
        batch_s=st.floats(0.0, 0.5) | st.just(3.0),
        age_s=st.floats(0.0, 3.0),
        methods=st.sampled_from(METHODS),
    )
    def beat(
        self,
        task: int,
        capacity: int,
        draining: bool,
        batch_s: float,
        age_s: float,
        methods: tuple[str, ...],
    ) -> None:
        self.dead.discard(name(task))
        self.methods.setdefault(name(task), methods)  # a worker offers what its model has
        beat = WorkerBeat(
            1,
            service_of(task),
            capacity,
            0,
            0,
            draining,
            batch_s,
            batch_s / 2,
            age_s,
            newest=2,
            methods=self.methods[name(task)],
            compares=True,
        )
        self.take(e.WorkerMessage(name(task), f"key-{task}", beat))

    @rule(
        count=st.integers(1, 4),
        service=st.sampled_from(SERVICES),
        seconds=st.floats(0.0, 5.0),
        kind=st.sampled_from(KINDS),
    )
    def submit(self, count: int, service: str, seconds: float, kind: e.RequestKind) -> None:
        for _ in range(count):
            number = len(self.submitted) + 1
            self.submitted[number] = self.now_s + seconds
            self.budgets[number], self.kinds[number] = seconds, kind
            self.take(e.Submitted(number, service, b"1", self.now_s + seconds, kind=kind))

    @precondition(lambda self: any(self.held.values()))
    @rule(data=st.data(), count=st.sampled_from([1, 3, CHUNK_WINDOW + 1]))
    def send_chunks(self, data: st.DataObject, count: int) -> None:
        connection = data.draw(st.sampled_from(sorted(c for c, ids in self.held.items() if ids)))
        number = data.draw(st.sampled_from(self.held[connection]))
        key = "key-" + connection.decode().removeprefix("task-")
        for _ in range(count):
            self.take(e.WorkerMessage(connection, key, Chunk(number, b"c")))

    @precondition(lambda self: +self.unread)
    @rule(data=st.data())
    def read_chunks(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(+self.unread)))
        count, self.unread[number] = self.unread[number], 0
        self.take(e.ChunksRead(number, count, count))

    @precondition(lambda self: any(self.held.values()))
    @rule(data=st.data(), how=st.sampled_from(HOW))
    def answer(self, data: st.DataObject, how: str) -> None:
        connection = data.draw(st.sampled_from(sorted(c for c, ids in self.held.items() if ids)))
        number = data.draw(st.sampled_from(self.held[connection]))
        self.held[connection].remove(number)
        key = "key-" + connection.decode().removeprefix("task-")
        if how == "reply":
            message: FromWorker = Reply(number, b"2" if number > 0 else b"true")
        else:
            message = Failure(number, how)  # type: ignore[arg-type]  # drawn from the literals
        self.take(e.WorkerMessage(connection, key, message))

    @rule(task=TASKS)
    def kill(self, task: int) -> None:
        self.held.pop(name(task), None)
        if (worker := self.gateway.pool.workers.get(name(task))) is not None:
            self.lost.update(worker.in_flight)
        self.take(e.WorkerDisconnected(name(task)))

    @precondition(lambda self: self.submitted.keys() - self.answered.keys() - self.abandoned)
    @rule(data=st.data())
    def abandon(self, data: st.DataObject) -> None:
        waiting = self.submitted.keys() - self.answered.keys() - self.abandoned
        number = data.draw(st.sampled_from(sorted(waiting)))
        self.abandoned.add(number)
        self.take(e.Abandoned(number))

    @rule(seconds=st.floats(0.0, 3.0))
    def tick(self, seconds: float) -> None:
        self.now_s += seconds
        self.take(e.Ticked())
        late = [i for i, deadline in self.submitted.items() if deadline <= self.now_s]
        assert set(late) <= self.answered.keys() | self.abandoned, "late and still not answered"

    @invariant()
    def books_agree(self) -> None:
        self.gateway.check_invariants()
        for connection, worker in self.gateway.pool.workers.items():
            assert set(self.held.get(connection, [])) >= worker.in_flight

    def teardown(self) -> None:
        hedged = sum(s.hedging.hedged for s in self.gateway.queue.services.values())
        assert hedged * hedging.SHARE <= len(self.submitted)
        hedging.SHARE = HEDGING_SHARE
        self.take(e.GraceOver())
        assert self.submitted.keys() == self.answered.keys() | self.abandoned


TestGateway = GatewayMachine.TestCase

from_worker = st.one_of(
    st.builds(
        WorkerBeat, *(st.integers(0, 9), st.text(), *[st.integers(0, 99)] * 3, st.booleans())
    ),
    st.builds(Reply, st.integers(0, 2**60), st.binary(max_size=200)),
    st.builds(Chunk, st.integers(0, 2**60), st.binary(max_size=200)),
    st.builds(Failure, st.integers(0, 2**60), st.sampled_from(["expired", "bad_input"]), st.text()),
)


@given(st.lists(from_worker, max_size=20))
def test_messages_survive_the_wire_in_order(messages: list[FromWorker]) -> None:
    codec: FrameCodec[FromWorker] = FrameCodec(FromWorker)
    frames = codec.frames(messages)
    assert [m for frame in frames for m in codec.messages(frame)] == messages


@given(st.binary(max_size=300))
def test_garbage_is_malformed_and_nothing_else(data: bytes) -> None:
    for codec in (FrameCodec[FromWorker](FromWorker), FrameCodec[ToWorker](ToWorker)):
        try:
            codec.messages(data)
        except MalformedMessage:
            continue
