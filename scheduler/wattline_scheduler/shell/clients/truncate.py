"""Truncates answers that do not fit a message, and marks them so where possible."""

from collections.abc import Callable

import msgspec

from wattline_protocol.data.requests import DataSets, DataVersions
from wattline_protocol.views.report_views import Report
from wattline_protocol.wire.client_messages import (
    Answer,
    Denied,
    Events,
    Jobs,
    Nodes,
    SiteNow,
)
from wattline_protocol.wire.event_log import ProblemList
from wattline_protocol.wire.routes import Routes


def fit(answer: Answer, encode: Callable[[Answer], bytes]) -> bytes:
    """The encoded answer, truncated if necessary. `encode` raises ValueError when too large."""
    while True:
        try:
            return encode(answer)
        except ValueError:
            answer = smaller(answer)


def smaller(answer: Answer) -> Answer:
    """The same answer with less in it: the newest half of a list, nodes without their GPUs.
    Raises ValueError for routes: a gateway keeps those that it has, and would end by a denial."""
    match answer:
        case Jobs(jobs=jobs) if len(jobs) > 1:
            return Jobs(jobs[len(jobs) // 2 :], is_cut=True)
        case Jobs(jobs=(job,)) if job.attempts:
            few = msgspec.structs.replace(job, attempts=job.attempts[len(job.attempts) // 2 + 1 :])
            return Jobs((few,), is_cut=True)
        case Events(events=events) if len(events) > 1:
            return Events(events[: len(events) // 2])
        case ProblemList(problems=problems) if len(problems) > 1:
            worst = problems[: len(problems) // 2]
            return msgspec.structs.replace(answer, problems=worst, is_cut=True)
        case DataSets(sets=sets) if len(sets) > 1:
            return DataSets(sets[: len(sets) // 2], is_cut=True)
        case DataVersions(versions=versions) if len(versions) > 1:
            newest = versions[len(versions) // 2 :]
            return msgspec.structs.replace(answer, versions=newest)
        case Nodes(nodes=nodes) if any(node.gpus for node in nodes):
            return Nodes(tuple(msgspec.structs.replace(node, gpus=()) for node in nodes))
        case SiteNow(site=site) if any(node.gpus for node in site.nodes):
            bare = tuple(msgspec.structs.replace(node, gpus=()) for node in site.nodes)
            return SiteNow(msgspec.structs.replace(site, nodes=bare))
        case SiteNow(site=site) if len(site.jobs) > 1:
            jobs = site.jobs[len(site.jobs) // 2 :]
            return SiteNow(msgspec.structs.replace(site, jobs=jobs))
        case Report(report=report) if len(report.jobs) > 1:
            return Report(
                msgspec.structs.replace(report, jobs=report.jobs[len(report.jobs) // 2 :])
            )
        case Routes():
            raise ValueError("services, keys and routes are larger than a message may be")
        case _:
            return Denied("impossible", "the answer is larger than a message may be")
