"""All that nodes answer for clients: logs, records of runs, secrets, terminals."""

from collections.abc import Callable, Mapping, Sequence

from wattline_protocol.data.secrets import SecretDone, SecretRequest
from wattline_protocol.ids import NodeId, Now
from wattline_protocol.wire.agent_messages import LogChunk
from wattline_protocol.wire.client_messages import FetchLog
from wattline_protocol.wire.task_reports.run_records import FetchRecord, RecordRead
from wattline_protocol.wire.task_reports.terminals import TerminalDone, TerminalRequest
from wattline_scheduler.core.model.effects import Effect
from wattline_scheduler.core.model.events import Event
from wattline_scheduler.core.model.state import State
from wattline_scheduler.core.requests.selection import Asker
from wattline_scheduler.records import AttemptRecord
from wattline_scheduler.shell.clients.log_relay import LogRelay
from wattline_scheduler.shell.clients.run_records import RunRecords
from wattline_scheduler.shell.clients.secret_relay import SecretRelay
from wattline_scheduler.shell.clients.terminal_relay import TerminalRelay
from wattline_scheduler.store.store import Store
from wattline_scheduler.store.tables import Storable

Relayed = FetchLog | FetchRecord | SecretRequest | TerminalRequest
Read = LogChunk | RecordRead | SecretDone | TerminalDone


class Relays:
    """Requests under way to nodes, by what they are about."""

    def __init__(
        self,
        state: State,
        store: Store,
        keys: Callable[[], Mapping[NodeId, str]],
        handle: Callable[[Event, Now], Sequence[Effect]],
    ) -> None:
        """`keys`: public keys of the enrolled agents; `handle` records an act or its refusal."""
        self._logs = LogRelay(state, store)
        self._runs = RunRecords(state, store)
        self._secrets = SecretRelay(state, keys)
        self._terminals = TerminalRelay(state)
        self._handle = handle

    def answer(
        self, client: bytes, ask: int, asker: Asker, request: Relayed, now: Now
    ) -> list[Effect]:
        """Pass a request on, or refuse it."""
        by = (client, ask, asker)
        if isinstance(request, FetchLog):
            return [self._logs.fetch(*by, request, now.mono_s)]
        if isinstance(request, FetchRecord):
            return [self._runs.fetch(*by, request, now.mono_s)]
        if isinstance(request, TerminalRequest):
            return self._terminals.answer(*by, request, now.mono_s, lambda e: self._handle(e, now))
        return self._secrets.answer(*by, request, now.mono_s, lambda e: self._handle(e, now))

    def take(self, node: NodeId, read: Read, now: Now) -> tuple[list[Effect], list[Storable]]:
        """What a node has answered: for its clients, and for the store."""
        match read:
            case LogChunk():
                answer = self._logs.take(node, read)
                return [] if answer is None else [answer], []
            case RecordRead():
                answers, runs = self._runs.take(node, read)
                return [*answers], [*runs]
            case SecretDone():
                return [*self._secrets.take(node, read)], []
            case TerminalDone():
                return self._terminals.take(node, read, lambda e: self._handle(e, now)), []

    def tick(self, now: Now) -> list[Effect]:
        """Answers for requests that nodes did not answer in time, and reads that are due."""
        effects: list[Effect] = [*self._logs.expire(now.mono_s), *self._runs.tick(now.mono_s)]
        effects += self._secrets.expire(now.mono_s)
        return effects + self._terminals.expire(now.mono_s, lambda e: self._handle(e, now))

    def note_saved(self, attempt: AttemptRecord) -> None:
        """An attempt is on disk: once it has ended, its record is read."""
        self._runs.note_saved(attempt)
