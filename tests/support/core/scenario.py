"""Scenario files: a site, its hosts and steps, played on the scheduler's core; the story as text.

Sites and jobs are written as users write them. Time is virtual, hosts are fake agents.
"""

import io
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import indent
from typing import Any

import msgspec
from rich.console import Console

from support.core import node_data
from support.core.harness import running
from support.core.parts import explain_job
from support.core.rolling import SHARED_MS, Behaviour, RollingHarness
from support.core.sites import gpu, migs
from support.programs.fake_agents import FakeAgent
from wattline.show.job import explanation
from wattline.show.rollout import rollout as show_rollout
from wattline_protocol.ids import DomainId, JobId, NodeId
from wattline_protocol.job.file import parse_job
from wattline_protocol.job.selection import Selection, parse_jobs
from wattline_protocol.site.file import parse_site
from wattline_protocol.site.model import Site
from wattline_protocol.text.quantities import (
    parse_duration_s,
    parse_percent,
    parse_power_mw,
    parse_size_bytes,
)
from wattline_protocol.text.spans import folded
from wattline_protocol.wire.agent_messages import TaskUsage
from wattline_protocol.wire.client_messages import (
    Acted,
    Answer,
    Cancel,
    Denied,
    Done,
    Drain,
    Hold,
    Release,
    Request,
    Requeue,
    Shed,
    Submit,
    Submitted,
    Undrain,
    Update,
)
from wattline_protocol.wire.nodes.acts import Cordon, Uncordon
from wattline_protocol.wire.reservations import Reserve, Unreserve
from wattline_protocol.wire.rollouts import RolloutNow, RolloutOptions, SteerRollout
from wattline_scheduler.core.lifecycle.job_state import reason_of
from wattline_scheduler.core.model.events import MembersSeen
from wattline_scheduler.core.model.usage.usage import MJ_PER_KWH
from wattline_scheduler.records import MemberRecord
from wattline_scheduler.views.rollout_view import rollout_view

COLUMNS = 100
"""Width of the text."""

GIB = 2**30

DATA = 7
"""Content of the version of a scenario."""


def played(path: Path) -> str:
    """What came of the scenario, step by step, and why each job waits that does at the end."""
    document = tomllib.loads(path.read_text())
    play = _Play(path.parent / "sites", document["site"], document.get("host", []))
    lines = [document["about"], ""]
    for step in document["step"]:
        lines += play.step(step)
    return "\n".join([*lines, *play.explained()]) + "\n"


class _Play:
    def __init__(self, sites: Path, site: str, hosts: list[dict[str, Any]]) -> None:
        self._sites = sites
        self.h = RollingHarness(self._site_of(site))
        self.reported: dict[JobId, str] = {}
        known = {name: host for host in hosts for name in host["names"]}
        assert known.keys() <= self.h.agents.keys(), "a host that is not in the site file"
        for name in list(self.h.agents):
            self._join(name, known.get(name, {}))
        self.h.settle()

    def _site_of(self, name: str) -> Site:
        path = self._sites / f"{name}.toml"
        return parse_site(path.read_text(), path.name)

    def _join(self, name: NodeId, host: dict[str, Any]) -> None:
        """Eight H100s, 64 CPUs and 512 GiB where the scenario says nothing else; `mig` divides the
        first GPU, tasks on an `is_stubborn` host end by themselves only."""
        memory_gib = parse_size_bytes(host.get("gpu_memory", "80GiB")) // GIB
        more: dict[str, object] = {"can_share": False} if host.get("is_exclusive") else {}
        if "gpu_power" in host:
            most_mw = parse_power_mw(host["gpu_power"])
            more |= {"cap_max_mw": most_mw, "cap_default_mw": most_mw, "cap_min_mw": most_mw // 3}
            more["idle_mw"] = most_mw // 10
        model = host.get("gpu", "NVIDIA H100 80GB HBM3")
        gpus = [gpu(at, name=model, gib=memory_gib, **more) for at in range(host.get("gpus", 8))]
        if "mig" in host:
            gpus[0] = msgspec.structs.replace(gpus[0], mig=migs(*host["mig"], node=name))
        self.h.agents[name] = FakeAgent(name, gpus)
        if self.h.site.run_as is not None:  # as of a keeper that starts nothing as others
            self.h.agents[name].keeper_account = ""
        self.h.agents[name].is_stubborn = host.get("is_stubborn", False)
        if not host.get("is_silent"):
            memory = parse_size_bytes(host.get("memory", "512GiB"))
            self.h.agents[name].say_hello(cpus=host.get("cpus", 64), memory_bytes=memory)

    def step(self, step: dict[str, Any]) -> Iterator[str]:
        """Do it; what was done, what was answered, and what became of jobs by it."""
        ((verb, what),) = ((k, v) for k, v in step.items() if k in VERBS)
        yield f"{verb} {_first_line(what)}"
        answer = VERBS[verb](self, what, step)
        if answer:
            yield indent(answer, "    ")
        for number, job in self.h.cluster.state.work.jobs.items():
            said = self._said(number)
            if said != self.reported.get(number):
                self.reported[number] = said
                yield f"    job {number} {job.spec.name}: {said}"

    def _said(self, number: JobId) -> str:
        record = self.h.job(number).record
        orders = ((n, self.h.agents[n].tasks[ref].order) for n, ref in running(self.h, number))
        places = [f"{node}[{folded(order.gpus)}]{order.mig}" for node, order in orders]
        where = f" on {', '.join(places)}" if places else ""
        why = f": {reason_of(self.h.job(number), record.state)}".rstrip(": ")
        return f"{record.state}{where}{why}"

    def explained(self) -> Iterator[str]:
        """Why each job waits that still does."""
        for number, job in self.h.cluster.state.work.jobs.items():
            if job.count["pending"]:
                yield f"\n{self.explain(number, {})}"

    # --- steps ----------------------------------------------------------------------------

    def submit(self, text: str, step: dict[str, Any]) -> str:
        """A job file, of `user`."""
        spec = parse_job(text, "job.toml")
        token = f"token-{self.h.cluster.state.next_job}"
        user = step.get("user", "ada")
        answer = self.h.ask(Submit(spec, token), user=user, role="submitter")
        self.h.settle()
        return _words(answer)

    def rollout(self, text: str, step: dict[str, Any]) -> str:
        """The same as the next revision of a service, with `options`."""
        options = msgspec.convert(step.get("options", {}), RolloutOptions)
        token = f"token-{self.h.cluster.state.next_job}"
        request = Submit(parse_job(text, "job.toml"), token, options)
        answer = self.h.ask(request, user=step.get("user", "ada"), role="submitter")
        self.h.settle()
        return _words(answer)

    def behave(self, number: int, step: dict[str, Any]) -> str:
        """Workers of the job answer a share of requests with errors, or in so many ms."""
        self.h.is_[JobId(number)] = Behaviour(
            step.get("is_ready", True), step.get("errors", 0.0), step.get("ms", SHARED_MS)
        )
        return ""

    def status(self, service: str, step: dict[str, Any]) -> str:
        """As `wattline rollout SERVICE status` shows it."""
        del step
        answer = rollout_view(self.h.cluster.state, service, self.h.now)
        assert isinstance(answer, RolloutNow)
        out = io.StringIO()
        Console(file=out, width=COLUMNS).print(show_rollout(answer.rollout))
        return "\n".join(line.rstrip() for line in out.getvalue().splitlines())

    def wait(self, duration: str, step: dict[str, Any]) -> str:
        """Time passes, with a beat of every host each second; each task uses `kwh` in it."""
        seconds = round(parse_duration_s(duration))
        each_mj = round(step.get("kwh", 0.0) * MJ_PER_KWH / seconds)
        for _ in range(seconds):
            for task in (task for agent in self.h.agents.values() for task in agent.tasks.values()):
                before, gpus = task.usage, len(task.order.gpus)
                task.usage = TaskUsage(
                    run_s=before.run_s + 1.0,
                    gpu_s=(before.run_s + 1.0) * gpus,
                    node_energy_mj=before.node_energy_mj + each_mj,
                )
            self.h.run(1)
        return ""

    def explain(self, number: int, step: dict[str, Any]) -> str:
        """As `wattline explain` shows it."""
        del step
        out = io.StringIO()
        why = explain_job(self.h.cluster.state, self.h.job(JobId(number)), self.h.now)
        Console(file=out, width=COLUMNS).print(explanation(why))
        return "\n".join(line.rstrip() for line in out.getvalue().splitlines())

    def end(self, number: int, step: dict[str, Any]) -> str:
        """All tasks of the job end, with exit code `code` after `ran`."""
        ran_s = parse_duration_s(step.get("ran", "1s"))
        for node, ref in running(self.h, JobId(number)):
            self.h.agents[node].end(ref, step.get("code", 0), run_s=ran_s)
        self.h.settle()
        return ""

    def restart(self, site: str, step: dict[str, Any]) -> str:
        """The scheduler starts anew, with another site file; its hosts are as they come."""
        del step
        self.h.site = self._site_of(site)
        self.h.restart_scheduler()
        self.h.join()
        self.h.run(2)
        return ""

    def silence(self, node: str, step: dict[str, Any]) -> str:
        """Nothing gets through to the host or from it any more."""
        del step
        self.h.cut_off.add(NodeId(node))
        return ""

    def data(self, name: str, step: dict[str, Any]) -> str:
        """Version 1 of a data set; the caches of `on` are empty."""
        for node in step["on"]:
            node_data.report(self.h, node)
        node_data.add(self.h, DATA, name=name)
        return ""

    def fetch(self, node: str, step: dict[str, Any]) -> str:
        """The host has got what it was to get."""
        del step
        node_data.held(self.h, node, DATA)
        return ""

    def members(self, gateways: list[str], step: dict[str, Any]) -> str:
        """Enrolled are an admin and these gateways."""
        del step
        enrolled = [MemberRecord("admin", "admin", "A" * 40)]
        enrolled += [MemberRecord(name, "gateway", "G" * 40) for name in gateways]
        self.h.handle(MembersSeen(tuple(enrolled)))
        return ""

    def ask(self, request: Request) -> str:
        """An operator asks."""
        answer = self.h.ask(request)
        self.h.settle()
        return _words(answer)


Verb = Callable[[_Play, Any, dict[str, Any]], str]


def _on(make: Callable[[Selection], Request]) -> Verb:
    return lambda play, jobs, _: play.ask(make(Selection(parse_jobs(str(jobs)))))


def _node_and_gpu(text: str) -> tuple[NodeId, str]:
    node, _, gpu = text.partition(":")
    return NodeId(node), gpu


def _shed(play: _Play, percent: str, step: dict[str, Any]) -> str:
    domain = DomainId(step["domain"])
    return play.ask(Shed(domain, fraction=parse_percent(percent), reason=step.get("reason", "")))


VERBS: dict[str, Verb] = {
    "submit": _Play.submit,
    "rollout": _Play.rollout,
    "behave": _Play.behave,
    "status": _Play.status,
    "promote": lambda play, name, _: play.ask(SteerRollout(name, "promote")),
    "back": lambda play, name, _: play.ask(SteerRollout(name, "back")),
    "wait": _Play.wait,
    "end": _Play.end,
    "silence": _Play.silence,
    "restart": _Play.restart,
    "explain": _Play.explain,
    "data": _Play.data,
    "fetch": _Play.fetch,
    "members": _Play.members,
    "drain": lambda play, node, step: play.ask(Drain(NodeId(node), step.get("reason", ""))),
    "undrain": lambda play, node, _: play.ask(Undrain(NodeId(node))),
    "cordon": lambda play, gpu, step: play.ask(Cordon(*_node_and_gpu(gpu), step.get("reason", ""))),
    "uncordon": lambda play, gpu, _: play.ask(Uncordon(*_node_and_gpu(gpu))),
    "cancel": _on(Cancel),
    "hold": _on(Hold),
    "release": _on(Release),
    "requeue": _on(lambda which: Requeue(which, "again")),
    "update": lambda play, jobs, step: play.ask(
        Update(Selection(parse_jobs(str(jobs))), step["changes"])
    ),
    "shed": _shed,
    "reserve": lambda play, name, step: play.ask(
        msgspec.convert({"t": "reserve", "name": name, **step["of"]}, Reserve)
    ),
    "unreserve": lambda play, name, _: play.ask(Unreserve(name)),
}


def _first_line(what: object) -> str:
    return str(what).strip().splitlines()[0].removeprefix("name = ").strip('"')


def _words(answer: Answer) -> str:
    match answer:
        case Submitted():
            return ""
        case Denied():
            return f"refused: {answer.reason}"
        case Done():
            return answer.text
        case Acted():
            return "; ".join(one.text for one in (*answer.jobs, *answer.refused))
        case _:
            raise AssertionError(answer)


def waits_said(story: str) -> set[str]:
    """Names of the filters that refused nodes in some table of the story."""
    rows = story.split("REFUSED BY")[1:]
    return {line.strip().split("  ")[0] for part in rows for line in part.splitlines()[1:]}
