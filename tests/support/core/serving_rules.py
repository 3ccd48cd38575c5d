"""Rules of a reference machine for services: submitted, replaced, and scaled up and down.

A part of `tests/property/test_core_machine.py`.
"""

from typing import Literal

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from support.core.reserving_rules import choices
from support.core.saving_rules import SavingRules
from support.core.sites import job
from wattline_protocol.job.selection import only
from wattline_protocol.wire.client_messages import Submit, Update
from wattline_protocol.wire.rollouts import ReportTraffic, RevisionTraffic, SteerRollout


class ServingRules(SavingRules):
    """Services beside whatever else there is."""

    @precondition(lambda self: len(self.h.cluster.state.work.open) < 8)
    @rule(gpus=st.integers(0, 4), replicas=st.integers(1, 3), account=st.sampled_from(["", "lab"]))
    def serve(self, gpus: int, replicas: int, account: str) -> None:
        wanted = job().gpus(gpus).service(replicas).account(account)
        self.ask(Submit(wanted.build(), f"s{self.asks}"))

    @rule(ready=st.integers(0, 3), errors=st.integers(0, 2))
    def report(self, ready: int, errors: int) -> None:
        """The gateway's: of each revision at most so many replicas are ready."""
        running = (
            RevisionTraffic(job.spec.name, job.id, min(ready, job.count["running"]), 20, errors)
            for job in self.h.cluster.state.work.jobs.values()
            if job.spec.service and not job.is_ended
        )
        self.ask(ReportTraffic(tuple(running)))

    @rule(action=st.sampled_from(["promote", "back"]))
    def steer(self, action: Literal["promote", "back"]) -> None:
        self.ask(SteerRollout(job().spec.name, action))

    @rule(at=choices, replicas=st.integers(1, 4))
    def scale(self, at: int, replicas: int) -> None:
        services = [j.id for j in self.h.cluster.state.work.jobs.values() if j.spec.service]
        if services:
            self.ask(Update(only(services[at % len(services)]), {"replicas": replicas}))
