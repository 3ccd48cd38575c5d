"""Relay of terminals: requests of attached clients, passed on to nodes, and stored nowhere here.

A client has one read and one write under way, so that one piece of output of each attachment is
here at most (docs/interactive.md).
"""

import itertools
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from wattline_protocol.ids import Instant, JobId, NodeId, TaskRef, UserName
from wattline_protocol.text.visible import visible_line
from wattline_protocol.trust.refusals import RateLimit
from wattline_protocol.wire.client_messages import Answer, Denied, Done
from wattline_protocol.wire.task_reports.terminals import (
    MAX_OUTPUT_BYTES,
    Attach,
    Attached,
    CloseTerminal,
    Detach,
    OpenTerminal,
    Over,
    ReadTerminal,
    TerminalDone,
    TerminalOrder,
    TerminalOutput,
    TerminalRequest,
    TerminalTaken,
    WriteTerminal,
)
from wattline_scheduler.core.model.effects import Effect, Reply, Send
from wattline_scheduler.core.model.events import ActRefused, TerminalUsed
from wattline_scheduler.core.model.jobs.job import Attempt, Paused
from wattline_scheduler.core.model.not_found import no_job
from wattline_scheduler.core.model.state import State
from wattline_scheduler.core.requests.selection import Asker
from wattline_scheduler.views.jobs_view import job_in_memory

MAX_OF_USER = 8
MAX_ATTACHMENTS = 128
ATTACHES_PER_S = 1.0
ATTACHES_AT_ONCE = MAX_OF_USER
"""Of a user: all its clients attach again after a restart."""
ANSWER_WITHIN_S = 5.0
REPLACED_AFTER_S = 0.5
LOST_AFTER_S = 30.0
"""A client that has sent nothing for so long is lost: its attachment is closed."""
OVER_AFTER_S = 10.0
"""From the end of an attempt, or the last output after it, to that of an attachment whose node has
not reported it, as of a lost one."""
ALL_BYTES_PER_S = 8 * 1024 * 1024
"""Of all attachments; an agent sends `PIECES_PER_S` of full size of each."""
PIECES_PER_S = 32
MIN_PIECE_BYTES = 1024
MAX_SAID_CHARS = 200
"""Of a node's text in an audit record."""
MAX_FIRST_NUMBER = 2**60

Handle = Callable[[TerminalUsed | ActRefused], Sequence[Effect]]
NOT_ATTACHED = Denied("conflict", "you are not attached to this terminal (any more): attach again")
NOT_CONFIRMED = Denied(
    "conflict", "this terminal's node has not confirmed the attachment: wait for Attached first"
)
EXPECTED: dict[type[TerminalRequest], type[Answer]] = {
    Attach: Attached,
    ReadTerminal: TerminalOutput,
    WriteTerminal: TerminalTaken,
}


@dataclass(slots=True, eq=False)
class _Attachment:
    """A client at a terminal."""

    token: str
    user: UserName
    owner: UserName
    ref: TaskRef
    node: NodeId
    heard: Instant
    is_open: bool = False
    """Its node has confirmed it, and it is on record."""
    over: str = ""
    """Why it has ended, for its next read; empty = it has not."""
    over_as: Over = "detached"
    gone: Instant | None = None
    """When its attempt was first seen to be over, since its last output; None = it was not."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A request that a node is to answer."""

    client: bytes
    ask: int
    of: _Attachment
    kind: type[TerminalRequest]
    until: Instant

    def reply(self, answer: Answer) -> Reply:
        return Reply(self.client, self.ask, answer)


@dataclass(frozen=True, slots=True)
class _Opening:
    """An OpenTerminal that its node has not answered, also where its attachment has ended."""

    user: UserName
    ref: TaskRef
    node: NodeId
    until: Instant


class TerminalRelay:
    """Attachments by token, and requests under way by the numbers that agents return."""

    def __init__(self, state: State) -> None:
        self._state = state
        # Agents may still answer the requests of an earlier run.
        self._numbers = itertools.count(secrets.randbelow(MAX_FIRST_NUMBER))
        self._attached: dict[str, _Attachment] = {}
        self._waiting: dict[int, _Waiting] = {}
        self._opening: dict[int, _Opening] = {}
        self._rate = RateLimit(ATTACHES_PER_S, ATTACHES_AT_ONCE)

    def answer(
        self,
        client: bytes,
        ask: int,
        asker: Asker,
        request: TerminalRequest,
        now: Instant,
        handle: Handle,
    ) -> list[Effect]:
        """`handle` records attachments, their ends and refusals."""
        if isinstance(request, Attach):
            return self._attach(client, ask, asker, request, now, handle)
        one = self._attached.get(request.token)
        if one is None or one.user != asker.user:
            return [Reply(client, ask, NOT_ATTACHED)]
        if isinstance(request, Detach) or one.over:
            answer = _last_answer(one, request)
            if isinstance(request, WriteTerminal):
                return [Reply(client, ask, answer)]  # its next read is to have the end
            return [*self._end(one, "detached", handle), Reply(client, ask, answer)]
        one.heard = now
        if not asker.may_use_terminal(one.owner, self._state.site.terminals):
            denied = _not_yours(one.ref.job, one.owner)
            return [*self._end(one, "no longer permitted", handle), Reply(client, ask, denied)]
        if not one.is_open:  # no input before the attachment is on record
            return [Reply(client, ask, NOT_CONFIRMED)]
        if isinstance(request, ReadTerminal):
            limit_bytes = min(request.limit_bytes, self._piece_bytes())
            request = msgspec.structs.replace(request, limit_bytes=limit_bytes)
        return self._pass_on(client, ask, one, type(request), request, now)

    def _piece_bytes(self) -> int:
        share = ALL_BYTES_PER_S // PIECES_PER_S // max(1, len(self._attached))
        return max(MIN_PIECE_BYTES, min(MAX_OUTPUT_BYTES, share))

    def _pass_on(
        self,
        client: bytes,
        ask: int,
        one: _Attachment,
        kind: type[TerminalRequest],
        act: OpenTerminal | ReadTerminal | WriteTerminal,
        now: Instant,
    ) -> list[Effect]:
        """One request of a kind is under way; a later one replaces it only if its node seems to
        have lost it, so that a client sends no more than its node answers."""
        for number, waiting in list(self._waiting.items()):
            if waiting.of is not one or waiting.kind is not kind:
                continue
            if (waiting.client, waiting.ask) == (client, ask):
                return []  # it was sent again: the answer is on its way
            if now < waiting.until - ANSWER_WITHIN_S + REPLACED_AFTER_S:
                return [Reply(client, ask, Denied("busy", "another such request is under way"))]
            del self._waiting[number]
        number = next(self._numbers)
        until = Instant(now + ANSWER_WITHIN_S)
        self._waiting[number] = _Waiting(client, ask, one, kind, until)
        if kind is Attach:
            self._opening[number] = _Opening(one.user, one.ref, one.node, until)
        return [Send(one.node, TerminalOrder(number, act))]

    # --- Attaching --------------------------------------------------------------------------

    def _attach(
        self, client: bytes, ask: int, asker: Asker, request: Attach, now: Instant, handle: Handle
    ) -> list[Effect]:
        found = self._find(request, asker)
        if isinstance(found, Denied):
            effects: list[Effect] = []
            if found.kind == "not_allowed":
                text = f"{asker.role} may not attach to the terminal of job {request.job}"
                effects.extend(handle(ActRefused(asker.user, text, found.reason)))
            return [*effects, Reply(client, ask, found)]
        held_back = self._held_back(client, ask, asker.user, found.record.ref, now)
        if held_back is not None:
            return held_back
        one = self._attached.get(request.token)
        if one is None or one.over or one.ref != found.record.ref:
            owner, ref = found.gang.job.record.owner, found.record.ref
            one = _Attachment(request.token, asker.user, owner, ref, found.node, now)
        before = self._detached_for(one, handle)
        self._attached[request.token] = one
        one.heard = now
        act = OpenTerminal(one.ref, request.token, request.size, request.have)
        return [*before, *self._pass_on(client, ask, one, Attach, act, now)]

    def _held_back(
        self, client: bytes, ask: int, user: UserName, ref: TaskRef, now: Instant
    ) -> list[Effect] | None:
        """What a user has instead of one more OpenTerminal under way. Not kept per token: a client
        that draws fresh ones would flood a node that it shares with others."""
        for number, opening in self._opening.items():
            if (opening.user, opening.ref) != (user, ref):
                continue
            waiting = self._waiting.get(number)
            if waiting is not None and (waiting.client, waiting.ask) == (client, ask):
                return []  # it was sent again: the answer is on its way
            text = f"{opening.node} has not answered an attach of {user} to job {ref.job} yet"
            text = f"{text}: attach again after {ANSWER_WITHIN_S:.0f} s"
            return [Reply(client, ask, Denied("busy", text))]
        if self._rate.allows(user, now):
            return None
        limits = f"{ATTACHES_AT_ONCE} at once and {ATTACHES_PER_S:.0f} a second are allowed"
        text = f"{user} attaches too often: {limits}; attach again after a second"
        return [Reply(client, ask, Denied("busy", text))]

    def _find(self, request: Attach, asker: Asker) -> Attempt | Denied:
        """The attempt with the terminal, or why there is none for this user."""
        state, number = self._state, request.job
        job = state.work.jobs.get(number)
        if job is None:
            has_been = 0 < number < state.next_job
            return _over(number) if has_been else no_job(number, state.next_job)
        if not asker.may_use_terminal(job.record.owner, state.site.terminals):
            return _not_yours(number, job.record.owner)
        if not job.spec.launch.pty:
            text = f"job {number} has no terminal: it was submitted without --pty"
            return Denied("impossible", f"{text}; `wattline logs {number} -f` follows its output")
        attempt = next(iter(job.gangs[0].live), None)
        if job.gangs[0].phase_name == "ended":
            return _over(number)
        if attempt is None:
            view = job_in_memory(job, state.site.tariff)
            text = f"job {number} is {view.state} and has no terminal yet"
            return Denied("unavailable", f"{text}: {view.reason}" if view.reason else text)
        if not state.nodes[attempt.node].is_reachable:
            text = f"the terminal of job {number} is on {attempt.node}, which does not report"
            return Denied("unavailable", text)
        return self._refusal(request, asker, attempt) or attempt

    def _refusal(self, request: Attach, asker: Asker, attempt: Attempt) -> Denied | None:
        known = self._attached.get(request.token)
        if known is not None and known.user != asker.user:
            return Denied("bad_request", "this token is of another client: choose one at random")
        if request.is_again and known is not None and known.ref != attempt.record.ref:
            text = f"the attempt of job {request.job} that you were attached to is over"
            return Denied(
                "conflict", f"{text}; `wattline attach {request.job}` attaches to the next"
            )
        all_others = (a for a in self._attached.values() if a.token != request.token)
        others = [a for a in all_others if not a.over]
        present = next((a for a in others if a.ref == attempt.record.ref), None)
        if request.is_again and present is not None:
            text = f"{present.user} has attached to this terminal meanwhile"
            return Denied("not_allowed", f"{text}; `wattline attach {request.job}` takes it over")
        others = [a for a in others if a.ref != attempt.record.ref]
        own = sum(a.user == asker.user for a in others)
        if own >= MAX_OF_USER or len(others) >= MAX_ATTACHMENTS:
            text = f"{own} clients of {asker.user} are attached, and {len(others)} in all"
            limits = f"{MAX_OF_USER} of a user and {MAX_ATTACHMENTS} in all may be"
            return Denied("busy", f"{text}; {limits}: detach one")
        return None

    def _detached_for(self, one: _Attachment, handle: Handle) -> list[Effect]:
        """Another client at the same terminal, and what this one had before, end."""
        effects: list[Effect] = []
        for other in list(self._attached.values()):
            if other is one or (other.token != one.token and other.ref != one.ref):
                continue
            why = f"{one.user} has attached to this terminal"
            if other.token == one.token or other.over:
                effects += self._end(other, why, handle)
            else:  # it must not attach again
                effects += self._end_until_asked(other, why, "detached", handle)
        return effects

    # --- Answers ----------------------------------------------------------------------------

    def take(self, node: NodeId, done: TerminalDone, handle: Handle) -> list[Effect]:
        """The answer for the client; none where no client waits for it."""
        opening = self._opening.get(done.request)
        if opening is not None and opening.node == node:
            del self._opening[done.request]
        waiting = self._waiting.get(done.request)
        if waiting is None or waiting.of.node != node:
            return []
        del self._waiting[done.request]
        one = waiting.of
        is_other = isinstance(done.answer, Attached) and done.answer.ref != one.ref
        if is_other or not isinstance(done.answer, EXPECTED[waiting.kind]):
            none = "its node gave no valid answer"
            error = visible_line(done.error) or none
            if waiting.kind is not Attach:  # it attaches again, and may have begun to
                return [waiting.reply(Denied("conflict", error))]
            denied = Denied("unavailable", error)
            why = _said_by_node(done.error) if done.error else none
            return [*self._end(one, why, handle), waiting.reply(denied)]
        match done.answer:
            case Attached() if not one.is_open:
                one.is_open = True
                return [*handle(_used(one, "")), waiting.reply(done.answer)]
            case TerminalOutput(over="ended" | "detached" as over, note=note):
                why = _said_by_node(note) if note else over
                return [*self._end(one, why, handle), waiting.reply(done.answer)]
            case TerminalOutput() as output:
                one.gone = None if output.data else one.gone
                noted = msgspec.structs.replace(output, note=self._held_up(one))
                return [waiting.reply(noted)]
            case answer:
                return [waiting.reply(answer)]

    def expire(self, now: Instant, handle: Handle) -> list[Effect]:
        """Answers for requests that no agent answered in time, and the end of lost clients.

        An attachment that is not confirmed in time ends, at its node too: a late Attached of a
        paused job would open a terminal that its client does not know of.
        """
        effects: list[Effect] = []
        late = [w for w in self._waiting.values() if now > w.until]
        unconfirmed = dict.fromkeys(w.of for w in late if w.kind is Attach)
        for number, waiting in list(self._waiting.items()):
            if now > waiting.until or waiting.of in unconfirmed:
                del self._waiting[number]
                effects.append(waiting.reply(self._too_late(waiting.of)))
        self._opening = {n: one for n, one in self._opening.items() if now <= one.until}
        self._rate.forget_full(now)
        for one in unconfirmed:
            effects += self._end(one, self._too_late(one).reason, handle)
        for one in list(self._attached.values()):
            if now > one.heard + LOST_AFTER_S:
                effects += self._end(one, "its client is lost", handle)
            elif not one.over and self._is_over(one, now):
                why = f"its terminal on {one.node} has ended with its attempt"
                effects += self._end_until_asked(one, why, "ended", handle)
        return effects

    def _is_over(self, one: _Attachment, now: Instant) -> bool:
        """Whether its attempt is over, and no rest of the output arrives any more."""
        if one.ref in self._state.work.live:
            one.gone = None
            return False
        if one.gone is None:
            one.gone = now
        return now > one.gone + OVER_AFTER_S

    def _too_late(self, one: _Attachment) -> Denied:
        late = f"{one.node} did not answer within {ANSWER_WITHIN_S:.0f} s"
        return Denied("unavailable", self._held_up(one) or late)

    def _held_up(self, one: _Attachment) -> str:
        """What its input waits for; empty = nothing."""
        attempt = self._state.work.live.get(one.ref)
        if attempt is None or not isinstance(attempt.gang.phase, Paused):
            return ""
        return f"job {one.ref.job} is paused: its input is held until it resumes"

    def _end(
        self, one: _Attachment, why: str, handle: Handle, as_over: Over = "detached"
    ) -> list[Effect]:
        """Forget an attachment, with its requests; its end is on record if its begin is."""
        self._attached.pop(one.token, None)
        effects: list[Effect] = []
        for number, waiting in list(self._waiting.items()):
            if waiting.of is one:
                del self._waiting[number]
                over = TerminalOutput(b"", 0, as_over, why)
                is_read = waiting.kind is ReadTerminal
                effects.append(waiting.reply(over if is_read else Denied("unavailable", why)))
        if one.over:  # its node and the record have it already
            return effects
        effects += handle(_used(one, why)) if one.is_open else ()
        return [*effects, Send(one.node, TerminalOrder(0, CloseTerminal(one.token)))]

    def _end_until_asked(
        self, one: _Attachment, why: str, over: Over, handle: Handle
    ) -> list[Effect]:
        """The same, with the end for the next read of its client, which may have none under way."""
        effects = self._end(one, why, handle, over)
        one.over, one.over_as = why, over
        self._attached[one.token] = one
        return effects


def _used(one: _Attachment, why_not: str) -> TerminalUsed:
    return TerminalUsed(one.user, one.owner, one.ref.job, one.node, why_not)


def _said_by_node(text: str) -> str:
    """Text of an agent for the record of a user's act: it is not taken for the scheduler's."""
    return f"its node says: {visible_line(text)[:MAX_SAID_CHARS]}"


def _last_answer(one: _Attachment, request: Detach | ReadTerminal | WriteTerminal) -> Answer:
    match request:
        case ReadTerminal(offset=offset):
            return TerminalOutput(b"", offset, one.over_as, one.over)
        case WriteTerminal(offset=offset):
            return TerminalTaken(offset)
        case Detach():
            return Done(f"detached from the terminal of job {one.ref.job}")


def _over(job: JobId) -> Denied:
    text = f"job {job} has ended, and its terminal with it"
    return Denied("conflict", f"{text}; `wattline logs {job}` has its output")


def _not_yours(job: JobId, owner: UserName) -> Denied:
    text = f"job {job} belongs to {owner}; only its owner may use its terminal"
    return Denied("not_allowed", f"{text}, unless the site file lets operators (terminals)")
