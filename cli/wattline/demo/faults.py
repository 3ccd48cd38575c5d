"""The faults: programs killed with SIGKILL under running work, and their effects."""

from collections.abc import Iterator
from dataclasses import dataclass

import psutil

from wattline.client import Client
from wattline.demo import work
from wattline.demo.findings import Findings
from wattline.demo.stage import Stage
from wattline.demo.steps import Pace, StepFailed
from wattline.demo.watcher import Watcher
from wattline_protocol.ids import NodeId
from wattline_protocol.text.wording import counted
from wattline_protocol.views.site_views import AttemptView, SiteView

AGENT_AWAY_S = 1.5
SCHEDULER_AWAY_S = 1.0
LOOK_S = 0.2

TaskKey = tuple[int, int]
"""Job and task."""


@dataclass(frozen=True, slots=True)
class RunningTask:
    """A running task and its process, identified by more than its number."""

    node: NodeId
    attempt: int
    pid: int
    created_s: float

    def is_alive(self) -> bool:
        """The same process still runs."""
        try:
            process = psutil.Process(self.pid)
            is_same: bool = process.create_time() == self.created_s
            return is_same and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False


def running_tasks(client: Client, jobs: list[int]) -> dict[TaskKey, RunningTask]:
    """Every task of `jobs` that runs now."""
    return {
        (job, attempt.task): task
        for job in jobs
        for attempt in client.job(job).attempts
        if attempt.state == "RUNNING" and (task := _task(attempt)) is not None
    }


def _task(attempt: AttemptView) -> RunningTask | None:
    if attempt.pid is None:
        return None
    try:
        created_s = psutil.Process(attempt.pid).create_time()
    except psutil.NoSuchProcess:
        return None  # it has just ended
    return RunningTask(attempt.node, attempt.attempt, attempt.pid, created_s)


def kill_agent(stage: Stage, client: Client, findings: Findings, pace: Pace) -> None:
    """Kill the agent under a rank of the training job; the task must survive and be re-adopted."""
    job = findings.jobs[work.TRAINING]
    tasks = running_tasks(client, [job])
    if not tasks:
        raise StepFailed("no task of the training job runs, so no agent can be killed under one")
    key, task = max(tasks.items())
    pace.say(f"SIGKILL to the agent of {task.node}, under task {job}.{key[1]} (pid {task.pid}).")
    stage.processes.kill(f"agent-{task.node}")
    pace.rest(AGENT_AWAY_S)
    if not task.is_alive():
        findings.agent_kill_readopted = False
        raise StepFailed(f"the task on {task.node} did not outlive its agent")
    stage.start_agent(task.node)
    while not pace.is_over():
        stage.processes.check()
        for attempt in client.job(job).attempts:
            if attempt.task == key[1] and attempt.readopted >= 1:
                _judge_readoption(task, attempt, findings)
                pace.say(findings.agent_kill_detail)
                return
        pace.rest(LOOK_S)
    raise StepFailed(f"{pace.why()} before the task on {task.node} was taken over again")


def _judge_readoption(task: RunningTask, attempt: AttemptView, findings: Findings) -> None:
    is_same = attempt.attempt == task.attempt and attempt.pid == task.pid
    has_run_on = task.is_alive() or attempt.state == "COMPLETED"
    findings.agent_kill_readopted = is_same and has_run_on
    findings.agent_kill_detail = (
        f"Taken over again: attempt {attempt.attempt} (was {task.attempt}), "
        f"pid {attempt.pid} (was {task.pid})."
    )


def kill_scheduler(
    stage: Stage, client: Client, watcher: Watcher, findings: Findings, pace: Pace
) -> None:
    """Kill the scheduler under running work; no job may be lost and no task affected."""
    jobs_before = {job.id for job in client.jobs()}
    epoch_before = client.site().epoch
    tasks = running_tasks(client, list(findings.jobs.values()))
    if not tasks:
        raise StepFailed("no task runs, so the scheduler cannot be killed under one")
    pace.say(f"SIGKILL to the scheduler, while {counted(len(tasks), 'task')} run.")
    stage.processes.kill("scheduler")
    watcher.forget()
    pace.rest(SCHEDULER_AWAY_S)
    stage.start_scheduler()

    def is_back(view: SiteView) -> bool:
        return view.epoch > epoch_before and all(n.state == "ok" for n in view.nodes)

    while watcher.wait_for(is_back, LOOK_S) is None:
        stage.processes.check()
        if pace.is_over():
            raise StepFailed(f"{pace.why()} before the restarted scheduler had heard all agents")
    findings.lost_jobs = len(jobs_before - {job.id for job in client.jobs()})
    touched = list(_touched(client, tasks))
    findings.untouched = not touched
    findings.trouble += touched
    pace.say(
        f"The scheduler is back: {counted(findings.lost_jobs, 'job')} lost, "
        f"{counted(len(touched), 'task')} touched."
    )


def _touched(client: Client, tasks: dict[TaskKey, RunningTask]) -> Iterator[str]:
    """Tasks whose attempt or process changed, as text."""
    views = {job: client.job(job).attempts for job in {job for job, _ in tasks}}
    for (job, number), task in tasks.items():
        newest = max((a for a in views[job] if a.task == number), key=lambda a: a.attempt)
        if (newest.attempt, newest.pid) != (task.attempt, task.pid):
            yield f"task {job}.{number} runs as another attempt or process after the restart"
        elif not task.is_alive() and newest.state not in ("COMPLETED", "RUNNING"):
            yield f"task {job}.{number} ended as {newest.state} over the restart"
