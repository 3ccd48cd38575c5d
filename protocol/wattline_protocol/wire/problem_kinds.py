"""The kinds of problems: severity, meaning and remedy.

One table for the agent (which conditions it may report), the scheduler (how a problem begins and
ends), and the screens and pages that explain it. A new kind is a new row here.
"""

from dataclasses import dataclass
from functools import partial
from typing import Literal

from wattline_protocol.wire.problems import Severity

Scope = Literal["node", "domain", "site"]
"""First word of a kind's subject: the name of a node, of a domain or zone, or "site"."""

HOUR_S = 3_600.0


@dataclass(frozen=True, slots=True)
class ProblemKind:
    """One kind. Its name is that of the event that begins it."""

    name: str
    title: str
    """The problem, without figures."""
    meaning: str
    """Wattline's behaviour meanwhile."""
    remedy: str
    """What an operator can do."""
    severity: Severity
    scope: Scope = "node"
    ended: str = ""
    """Kind of the event at its end; empty = the name with "_over"."""
    settle_s: float = 0.0
    """How long it must be absent before it ends."""
    lasts_s: float | None = None
    """It ends by itself when not seen for this long; None = only with its cause."""
    is_prompt: bool = False
    """Its end is never delayed, however often it recurs: figures are derived from it."""

    @property
    def end_event(self) -> str:
        """Kind of the event written at its end."""
        return self.ended or f"{self.name}_over"


_warning = partial(ProblemKind, severity="warning")
_alarm = partial(ProblemKind, severity="alarm")
_domain_alarm = partial(_alarm, scope="domain")

_AGENT = (
    _warning(
        "foreign_load",
        "GPU is used by others",
        "It is offered to no task, and counts at its cap.",
        "See which process it is with `wattline node NODE`; ask its user to end it.",
        settle_s=5.0,
    ),
    _warning(
        "cap_ceiling",
        "GPU is held down by its BMC",
        "No cap above the BMC's limit is set, for on some hosts that would lift it.",
        "Lift the limit at the BMC, then set the GPU's default with `nvidia-smi -pl`.",
    ),
    _warning(
        "gpu_unread",
        "GPU gives no readings",
        "Its cap counts as its draw.",
        "Look at the driver on the host: nvidia-smi, dmesg.",
        settle_s=5.0,
    ),
    _warning(
        "gpu_uncappable",
        "GPU cannot be capped",
        "It counts at its maximum draw, whatever it draws.",
        "Run the agent with the right to set power limits, or expect fewer watts for others.",
    ),
    _warning(
        "cap_ineffective",
        "GPU draws far more than its cap",
        "It counts at its maximum draw.",
        "Check the driver and whether something else sets the power limit.",
        settle_s=5.0,
    ),
    _warning(
        "cap_fault",
        "power limit of a GPU cannot be set",
        "After 3 s the GPU counts at its maximum draw.",
        "The text names the driver's error; nvidia-smi -q -d POWER shows the limits.",
        settle_s=5.0,
    ),
    _warning(
        "clock_fault",
        "clocks of a GPU cannot be locked",
        "The power limit alone holds it.",
        "The text names the driver's error.",
        settle_s=5.0,
    ),
    _warning(
        "cap_raised",
        "power limit of a GPU was raised from outside",
        "The agent sets it again.",
        "Find what raises it: a tool of the vendor, a boot script, or a task with root rights.",
    ),
    _warning(
        "cap_overshoot",
        "GPU drew more above its cap than before",
        "The larger factor counts from now on.",
        "Nothing, if the model does so; else compare with a meter.",
    ),
    _warning(
        "device_event",
        "driver reported an error of a GPU",
        "Shown for ten minutes after the last report.",
        "Look the XID up in the vendor's list; drain the node if it comes back.",
    ),
    _warning(
        "driver_reloaded",
        "GPU driver was reloaded",
        "Caps were set again at once.",
        "Nothing, if somebody updated the driver.",
    ),
    _warning(
        "lease_exceeded",
        "node is held above its lease",
        "The agent lowers caps until it fits; the scheduler keeps the larger figure in its books.",
        "Look at the other problems of the node: a GPU may not follow its cap.",
        settle_s=5.0,
    ),
    _warning(
        "lease_refused",
        "node cannot be held to the lease asked for",
        "The watts are taken from other nodes.",
        "Look at the other problems of the node.",
        settle_s=5.0,
    ),
    _warning(
        "agent_refused",
        "agent and scheduler refuse each other",
        "Nothing starts on the node.",
        "The text says why: versions, names or epochs that do not agree.",
    ),
    _warning(
        "observe_mode",
        "agent only observes",
        "Nothing is capped or started there; the node counts in full.",
        "Start the agent without --observe once you trust it.",
    ),
    _warning(
        "agent_isolated",
        "beats of the node were not answered",
        "The node keeps to its isolation cap.",
        "Check the network between node and scheduler.",
        settle_s=5.0,
    ),
    _warning(
        "non_gpu_load",
        "load beside the GPUs is above the site file's worst case",
        "The measured figure is used.",
        "Correct non_gpu_worst of the node in the site file.",
    ),
    _warning(
        "node_problem",
        "agent reports a problem",
        "See the text.",
        "See the text; `wattline node NODE` shows all problems of the node.",
        settle_s=5.0,
    ),
    _warning(
        "more_problems",
        "agent has more problems than fit into a beat",
        "Those that are not listed neither begin nor end.",
        "Repair the ones that are listed first.",
        settle_s=5.0,
    ),
)

_NODE = (
    _warning(
        "node_silent",
        "node is not heard",
        "Its last lease stays in the books.",
        "Check host, agent and network; without power: `wattline node off NODE`.",
        ended="node_heard",
    ),
    _warning(
        "gpu_lost",
        "GPU is lost",
        "It is given to no task.",
        "Look for its XID in dmesg; drain the node and reset the GPU or restart the host.",
        ended="gpu_back",
        settle_s=5.0,
    ),
    _alarm(
        "base_above_worst",
        "node draws more beside its GPUs than the site file allows",
        "The measured figure counts until the scheduler is restarted.",
        "Correct non_gpu_worst of the node in the site file.",
        lasts_s=HOUR_S,
    ),
    _alarm(
        "power_implausible",
        "power sensor of a node gives figures that cannot be",
        "The model of its parts stands in.",
        "Check the BMC; its sensor may be scaled wrongly or hang.",
        ended="power_plausible",
    ),
    _alarm(
        "cap_uncontrolled",
        "power limit of a GPU is raised again and again",
        "The GPU counts at its maximum and gets no task. A task on it with root rights is killed.",
        "Find what raises it; let tasks run as accounts without root ([run_as]).",
        ended="cap_holds",
    ),
    _alarm(
        "node_quarantined",
        "agent of a node contradicts the books again and again",
        "The node counts in full and gets no task; the rest of its domains grows again.",
        "Look at the host and its key, then: wattline node readmit NODE.",
        ended="quarantine_over",
        is_prompt=True,
    ),
    _alarm(
        "books_contradicted",
        "node contradicts the books",
        "It counts in full, and nothing grows beside it, until its caps are read back.",
        "If it does not end by itself, read the agent's log and check where its key is.",
        ended="books_agree",
    ),
    _alarm(
        "epoch_too_old",
        "node has met a later scheduler",
        "It counts in full.",
        "The store is an old copy: stop the scheduler, start it once with --recover.",
        ended="epoch_agreed",
    ),
    _alarm(
        "node_off_but_heard",
        "node was declared off but is heard",
        "It counts in full until its caps are known.",
        "Find out why it has power; declare nodes off only once you have seen them off.",
        lasts_s=HOUR_S,
    ),
    _alarm(
        "node_above_books",
        "node can only be held above what the books say",
        "The larger figure counts.",
        "Look at what changed on the host: GPUs, driver, power limits.",
        lasts_s=HOUR_S,
    ),
    _alarm(
        "message_refused",
        "message of a node ended the scheduler",
        "The node is not heard for an hour and counts in full; its tasks run on.",
        "Report the text as a bug; check the agent and where its key is.",
        lasts_s=HOUR_S,
    ),
    _alarm(
        "node_greets_often",
        "node greets again and again",
        "Each greeting takes its tasks from the one before.",
        "Two agents use one key, or the agent ends again and again: see its log.",
        lasts_s=300.0,
    ),
    _alarm(
        "processes_left",
        "task left processes that could not be ended",
        "Its GPUs count as busy while they draw.",
        "End them on the host; the text names them.",
        lasts_s=HOUR_S,
    ),
    _alarm(
        "out_of_band_failed",
        "host could not be confirmed off",
        "Its watts stay in the books.",
        "See that it is without power, then: `wattline node off NODE --confirm NODE`.",
        ended="out_of_band_over",
    ),
)

_POWER = (
    _warning(
        "over_budget",
        "domain is committed above its budget",
        "Leases in it shrink, lowest priority first.",
        "`wattline power` shows by how much and since when; nodes that do not answer hold it up.",
        scope="domain",
        ended="budget_met",
        is_prompt=True,
    ),
    _domain_alarm(
        "load_unexplained",
        "meter shows load that no node explains",
        "So much is kept free in the domain.",
        "Find what else is plugged in there, or correct fixed_load in the site file.",
        ended="load_explained",
    ),
    _domain_alarm(
        "meter_stale",
        "meter gives no new values",
        "The books are believed, or the fallback budget is in force.",
        "Check the meter's command or URL in the site file.",
        ended="meter_back",
    ),
    _domain_alarm(
        "meter_frozen",
        "meter gives the same value all the time",
        "The books are believed, or the fallback budget is in force.",
        "Restart the meter or what reads it.",
        ended="meter_back",
    ),
    _domain_alarm(
        "meter_implausible",
        "meter gives values that cannot be",
        "The books are believed, or the fallback budget is in force.",
        "Check its scale and whether it measures this domain.",
        ended="meter_back",
    ),
)

_COOLING = (
    _domain_alarm(
        "cooling_units",
        "cooling units are out of service",
        "The zone's budget is what the others can remove.",
        "Repair the unit; say how many work with `wattline cooling ZONE --units-in-service N`.",
        ended="cooling_units_back",
    ),
    _domain_alarm(
        "cooling_unseen",
        "sensor of a cooling zone gives nothing",
        "The safe figure counts.",
        "Check the sensor's command or URL in the site file.",
        ended="cooling_seen",
    ),
    _domain_alarm(
        "inlets_unseen",
        "too few nodes report the temperature of their inlet",
        "Nothing rises in the zone.",
        "Check the inlet sensors (BMC) of its nodes.",
        ended="inlets_seen",
    ),
    _warning(
        "inlets_warm",
        "inlets are near their limit",
        "The zone's budget falls until they cool.",
        "Check the cooling of the zone.",
        scope="domain",
        ended="inlets_cool",
    ),
    _domain_alarm(
        "inlets_over",
        "inlets are above their limit",
        "The zone's budget falls until they cool.",
        "Check the cooling of the zone at once.",
        ended="inlets_within",
    ),
)

_SITE = (
    _warning(
        "recovering",
        "backup was restored and not every node was heard since",
        "Nothing starts.",
        "Start the missing agents, or declare their nodes off.",
        scope="site",
        ended="recovery_over",
    ),
    _alarm(
        "check_failed",
        "request was refused because of an internal error",
        "Nothing was changed by it; the scheduler runs on.",
        "Report the text as a bug; whoever asked can leave out what the refusal names.",
        scope="site",
        lasts_s=HOUR_S,
    ),
    _alarm(
        "request_refused",
        "request that ended the scheduler is refused",
        "It is refused for an hour, so that it does not end the next run too.",
        "Report the text as a bug; whoever sends it should stop.",
        scope="site",
        lasts_s=HOUR_S,
    ),
    _alarm(
        "store_behind",
        "agent knows of more than is on record",
        "Its caps are read back and what it runs without being on record is stopped.",
        "Look for jobs of the last seconds before this run, and submit them again; check the disk.",
        lasts_s=HOUR_S,
    ),
    _alarm(
        "disk_reserve_reached",
        "scheduler's disk is nearly full",
        "No new job or reservation is taken; running jobs continue and end normally.",
        "Free space on the file system of the scheduler's state directory.",
        scope="site",
    ),
    _alarm(
        "service_name_taken",
        "service gets no requests: its name belongs to another user",
        "The service runs on; the gateway sends requests of the name to the owner's service only.",
        "Submit it under another name, or list its user in the site file ([[service]]).",
        scope="site",
        ended="service_name_freed",
        is_prompt=True,
    ),
    _warning(
        "cost_not_limited",
        "limits of cost do not act",
        "Jobs that have one run on, and start nothing more.",
        "Put [tariff] back into the site file.",
        scope="site",
    ),
)

AGENT_KINDS: frozenset[str] = frozenset(kind.name for kind in _AGENT)
"""Kinds of conditions in a beat; any other name counts as `node_problem`."""

KINDS: dict[str, ProblemKind] = {
    kind.name: kind for kind in (*_AGENT, *_NODE, *_POWER, *_COOLING, *_SITE)
}
"""By name."""
