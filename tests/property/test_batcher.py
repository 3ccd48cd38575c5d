"""Whatever happens to the batcher: nothing lost, nothing answered twice, nobody waits in vain."""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from wattline_runtime.serve import batcher as b

BUDGET = 6
QUEUE_LIMIT = 8


class BatcherMachine(RuleBasedStateMachine):
    """Two gateways send, cancel and vanish; the model works, fails and breaks; time goes on."""

    def __init__(self) -> None:
        super().__init__()
        self.batcher = b.Batcher(budget=BUDGET, queue_limit=QUEUE_LIMIT)
        self.now_s = 0.0
        self.next_id = 0
        self.items: dict[b.Key, b.Item] = {}
        self.answered: dict[b.Key, b.Outcome] = {}
        self.running: tuple[b.Item, ...] = ()
        self.cancelled: set[b.Key] = set()

    def take(self, event: b.Event) -> None:
        for effect in self.batcher.handle(event, self.now_s):
            if isinstance(effect, b.RunBatch):
                assert not self.running, "the model was given two batches"
                self.check_batch(effect.items)
                self.running = effect.items
            else:
                assert effect.key not in self.answered, "answered twice"
                self.answered[effect.key] = effect.outcome

    def check_batch(self, items: tuple[b.Item, ...]) -> None:
        assert len(items) == 1 or sum(item.cost for item in items) <= BUDGET
        assert [i.length for i in items] == sorted(i.length for i in items)
        for item in items:
            assert item.deadline_s > self.now_s, "an expired request reached the model"
            assert item.key not in self.answered
            assert item.key not in self.cancelled

    @rule(
        sizes=st.lists(
            st.tuples(st.integers(1, 8), st.integers(0, 5), st.floats(0.0, 4.0)), max_size=4
        ),
        gateway=st.integers(1, 2),
    )
    def arrive(self, sizes: list[tuple[int, int, float]], gateway: int) -> None:
        items = []
        for cost, length, seconds in sizes:
            self.next_id += 1
            key = b.Key(gateway, self.next_id)
            items.append(b.Item(key, self.now_s + seconds, cost, length, None))
        self.items.update({item.key: item for item in items})
        self.take(b.Arrived(tuple(items)))

    @precondition(lambda self: self.items)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.items)))
        self.cancelled.add(key)
        self.take(b.Cancelled(key))

    @rule(gateway=st.integers(1, 2))
    def lose_gateway(self, gateway: int) -> None:
        self.cancelled.update(key for key in self.items if key.gateway == gateway)
        self.take(b.GatewayLost(gateway))

    @precondition(lambda self: self.running)
    @rule()
    def finish(self) -> None:
        done, self.running = self.running, ()
        outcomes = tuple(b.Output(str(item.key.id).encode()) for item in done)
        self.take(b.BatchEnded(outcomes))
        for item, outcome in zip(done, outcomes, strict=True):
            got = self.answered[item.key]
            assert got == outcome or item.key in self.cancelled

    @precondition(lambda self: self.running)
    @rule()
    def break_down(self) -> None:
        self.running = ()
        self.take(b.BatchBroke(b.Failed("model_error")))

    @rule(seconds=st.floats(0.0, 2.0))
    def wait(self, seconds: float) -> None:
        self.now_s += seconds

    @rule()
    def drain(self) -> None:
        self.take(b.DrainStarted())

    @invariant()
    def books_agree(self) -> None:
        self.batcher.check_invariants()
        assert self.batcher.queued <= QUEUE_LIMIT + BUDGET  # a broken batch goes back in
        held = self.batcher.queued + self.batcher.running
        assert held == len(self.items) - len(self.answered), "a request was lost"

    def teardown(self) -> None:
        while self.running:
            self.finish()
        assert self.answered.keys() == self.items.keys()


TestBatcher = BatcherMachine.TestCase
