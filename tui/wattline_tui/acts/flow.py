"""From the key of an act to its answer: what is typed, the confirmation, the request."""

from functools import partial

import msgspec
from textual.app import App

from wattline_protocol.ids import DomainId, JobId
from wattline_protocol.views.power_views import PowerOutlook, WhatIfPower
from wattline_protocol.wire.client_messages import (
    Acted,
    Denied,
    Done,
    Explain,
    Explained,
    OnJobs,
    Request,
)
from wattline_tui.acts.orders import parse_what_if
from wattline_tui.acts.proposal import Proposal
from wattline_tui.acts.table import ACTS, Act, Keys, refusal
from wattline_tui.client import Feed, FeedLost
from wattline_tui.explained import explained
from wattline_tui.model import View
from wattline_tui.render.outlook_text import outlook_text
from wattline_tui.screens.base import SiteScreen, Subject
from wattline_tui.screens.dialogs import Acts, Ask, Confirm, Entry, Page

BY_ID = {act.id: act for act in ACTS}
MOST_SHOWN = 8
"""Lines of an answer about many jobs."""


class ActsApp(App[None]):
    """The part of the app that acts."""

    feed: Feed
    view: View

    @property
    def subject(self) -> Subject | None:
        """What acts are about on the screen on top."""
        screen = self.screen
        return screen.subject() if isinstance(screen, SiteScreen) else None

    def keys_of(self, id: str, keys: str) -> str:  # noqa: A002 - as in the tables
        """The keys of an action or an act: the user's, or else those of the table."""
        return self._keymap.get(id, keys)

    # --- choose ------------------------------------------------------------------------------

    def _keys(self, act: Act) -> Keys:
        """The objects in focus that an act is about; empty: it is about none of them."""
        subject = self.subject
        if subject is None:
            return ()
        return subject.keys_of(act.on) or subject.keys_of(act.within or "")

    def action_acts(self) -> None:
        """List the acts on what is in focus."""
        subject = self.subject
        entries = [
            Entry(
                act.id,
                self.keys_of(act.id, act.key),
                act.label,
                act.help,
                refusal(act, keys, self.view),
            )
            for act, keys in ((act, self._keys(act)) for act in ACTS)
            if keys or act.is_of_site
        ]
        title = f"acts on {_named(subject)}" if subject is not None else "acts on the site"
        self.push_screen(Acts(title, entries), self._begin)

    def _begin(self, id: str | None) -> None:  # noqa: A002 - as in the table
        if id is not None:
            self.action_act(id)

    def action_act(self, id: str) -> None:  # noqa: A002 - as in the table
        """Begin an act on what is in focus."""
        act = BY_ID[id]
        keys = self._keys(act)
        why_not = refusal(act, keys, self.view)
        if why_not:
            self.notify(why_not, severity="warning", title="Not possible")
            return
        question = act.ask(self.view, keys)
        if question is None:
            self._propose(act, keys)
            return
        read = partial(_proposed, act, self.view, keys)
        self.push_screen(Ask(question.text, question.hint, read), self._confirm)

    def _propose(self, act: Act, keys: Keys) -> None:
        try:
            proposal = act.propose(self.view, keys, "")
        except ValueError as error:
            self.notify(str(error), severity="warning", title="Not possible")
        else:
            self._confirm(proposal)

    def _confirm(self, proposal: Proposal | None) -> None:
        if proposal is not None:
            self.push_screen(Confirm(proposal), self._do)

    def _do(self, proposal: Proposal | None) -> None:
        if proposal is not None:
            self.order(*proposal.requests)

    def action_explain(self) -> None:
        """Explain why the job in focus is pending."""
        jobs = self.subject.keys_of("job") if self.subject is not None else ()
        if jobs:
            self.order(Explain(JobId(int(jobs[0]))))
        else:
            self.notify("Explain applies to a job: select one first.", severity="warning")

    def action_whatif(self) -> None:
        """Predict what fewer watts of the domain in focus do, or where the job in focus starts."""
        subject = self.subject
        if subject is not None and subject.kind == "job":
            self.order(Explain(JobId(int(subject.keys[0]))))
            return
        domain = _domain_of(subject, self.view)
        if domain is None:
            text = "What if applies to a domain or a job: select one first."
            self.notify(text, severity="warning")
            return
        read = partial(parse_what_if, domain=domain)
        question = f"What if {domain} loses … ? Nothing is changed."
        self.push_screen(Ask(question, "3kW, 25% or fails", read), self._predict)

    def _predict(self, request: WhatIfPower | None) -> None:
        if request is not None:
            self.order(request)

    # --- send --------------------------------------------------------------------------------

    def order(self, *requests: Request) -> None:
        """Send requests one after the other, and show their answers."""
        self.run_worker(lambda: self._send(requests), thread=True, name="order")

    def _send(self, requests: tuple[Request, ...]) -> None:
        lines: list[str] = []
        for request in requests:
            try:
                lines += self._answers(request)
            except FeedLost as lost:
                self._report(lines)
                self.call_from_thread(self.notify, str(lost), severity="error", title="Not done")
                return
            except _Refused as refused:
                self._report(lines)
                self.call_from_thread(self.notify, str(refused), severity="error", title="Refused")
                return
        self._report(lines)

    def _answers(self, request: Request) -> list[str]:
        """Lines about what was done. Raises FeedLost and _Refused."""
        answer = self.feed.ask(request)
        if isinstance(answer, Denied):
            raise _Refused(answer.reason)
        if isinstance(answer, Explained):
            now_s = self.view.site.unix_s if self.view.site else 0.0
            self.call_from_thread(self.push_screen, Page(explained(answer.explain, now_s)))
            return []
        if isinstance(answer, PowerOutlook):
            self.call_from_thread(self.push_screen, Page(outlook_text(answer)))
            return []
        if isinstance(answer, Done):
            return [answer.text]
        if not isinstance(answer, Acted):
            return []
        lines = [job.text for job in answer.jobs]
        if answer.rest and answer.jobs and isinstance(request, OnJobs):
            lines += self._answers(msgspec.structs.replace(request, after=answer.jobs[-1].job))
        return lines

    def _report(self, lines: list[str]) -> None:
        more = len(lines) - MOST_SHOWN
        shown = [*lines[:MOST_SHOWN], *([f"and {more} more"] if more > 0 else [])]
        if shown:
            self.call_from_thread(self.notify, "\n".join(shown))


class _Refused(Exception):
    """The scheduler refused a request; the text says why."""


def _proposed(act: Act, view: View, keys: Keys, typed: str) -> Proposal:
    return act.propose(view, keys, typed)


def _domain_of(subject: Subject | None, view: View) -> DomainId | None:
    """The domain in focus; without one the root of the power tree."""
    if subject is not None:
        return next(map(DomainId, subject.keys_of("domain")), None)
    domains = view.site.domains if view.site else ()
    roots = (one.id for one in domains if one.parent is None and one.kind == "power")
    return next(roots, None)


def _named(subject: Subject) -> str:
    if len(subject.keys) == 1:
        return f"{subject.kind} {subject.keys[0]}"
    return f"{len(subject.keys):,} {subject.kind}s"
