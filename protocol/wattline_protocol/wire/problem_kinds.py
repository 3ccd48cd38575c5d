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
        "GPU is used by a foreign process",
        "No task is placed on it; it counts at its cap.",
        "`wattline node NODE` shows the process; ask its user to end it.",
        settle_s=5.0,
    ),
    _warning(
        "secret_refused",
        "Secret on a node is refused",
        "No task gets it, as others than the agent can read or change it, or it is no value.",
        "Run the chmod that it names; `wattline secret put` stores it rightly.",
    ),
    _warning(
        "cap_ceiling",
        "GPU is limited by its BMC",
        "No cap above the BMC's limit is set: on some hosts that would remove it.",
        "Remove the limit at the BMC, then set the GPU's default with `nvidia-smi -pl`.",
    ),
    _warning(
        "gpu_unread",
        "GPU gives no readings",
        "Its cap counts as its draw.",
        "Check the driver on the host: nvidia-smi, dmesg.",
        settle_s=5.0,
    ),
    _warning(
        "gpu_uncappable",
        "GPU cannot be capped",
        "It counts at its maximum draw.",
        "Run the agent with the right to set power limits.",
    ),
    _warning(
        "cap_ineffective",
        "GPU draws far more than its cap",
        "It counts at its maximum draw.",
        "Check the driver, and whether another program sets the power limit.",
        settle_s=5.0,
    ),
    _warning(
        "cap_fault",
        "power limit of a GPU cannot be set",
        "After 3 s the GPU counts at its maximum draw.",
        "The text has the driver's error; nvidia-smi -q -d POWER shows the limits.",
        settle_s=5.0,
    ),
    _warning(
        "clock_fault",
        "clocks of a GPU cannot be locked",
        "Only the power limit is in force.",
        "The text has the driver's error.",
        settle_s=5.0,
    ),
    _warning(
        "cap_raised",
        "power limit of a GPU was raised by another program",
        "The agent restores it.",
        "Find the cause: a vendor tool, a boot script, or a task with root rights.",
    ),
    _warning(
        "cap_overshoot",
        "GPU drew more above its cap than before",
        "The larger factor counts from now on.",
        "None if this is normal for the model; otherwise compare with a meter.",
    ),
    _warning(
        "device_event",
        "driver reported a GPU error",
        "Shown for ten minutes after the last report.",
        "Look up the XID in the vendor's list; drain the node if it recurs.",
    ),
    _warning(
        "driver_reloaded",
        "GPU driver was reloaded",
        "Caps were restored at once.",
        "None after an update of the driver.",
    ),
    _warning(
        "lease_exceeded",
        "node draws above its lease",
        "The agent lowers caps; the larger value counts as committed.",
        "Check the node's other problems: a GPU may not follow its cap.",
        settle_s=5.0,
    ),
    _warning(
        "lease_refused",
        "node cannot be limited to its new lease",
        "The watts are taken from other nodes.",
        "Check the node's other problems.",
        settle_s=5.0,
    ),
    _warning(
        "agent_refused",
        "agent and scheduler are incompatible",
        "Nothing starts on the node.",
        "The text has the reason: versions, names or epochs differ.",
    ),
    _warning(
        "observe_mode",
        "agent only observes",
        "No caps are set and no tasks start; the node counts in full.",
        "Restart the agent without --observe.",
    ),
    _alarm(
        "keeper_silent",
        "keeper of the node does not answer",
        "Tasks run on; none starts, stops or pauses, and jobs sent there wait.",
        "Drain the node; read keeper/log in its state directory. Ending the keeper ends its tasks.",
    ),
    _warning(
        "agent_isolated",
        "heartbeats of the node were not answered",
        "The node stays at its isolation cap.",
        "Check the network between node and scheduler.",
        settle_s=5.0,
    ),
    _warning(
        "non_gpu_load",
        "non-GPU load is above the site file's worst case",
        "The measured value is used.",
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
        "agent has more problems than a heartbeat can list",
        "Problems that are not listed neither begin nor end.",
        "Resolve the listed ones first.",
        settle_s=5.0,
    ),
)

_NODE = (
    _warning(
        "node_silent",
        "node does not report",
        "Its last lease stays committed.",
        "Check host, agent and network; if it has no power: `wattline node off NODE`.",
        ended="node_heard",
    ),
    _warning(
        "gpu_lost",
        "GPU is lost",
        "No task is placed on it.",
        "Find its XID in dmesg; drain the node and reset the GPU or restart the host.",
        ended="gpu_back",
        settle_s=5.0,
    ),
    _alarm(
        "base_above_worst",
        "non-GPU draw of a node exceeds the site file's maximum",
        "The measured value counts until the scheduler is restarted.",
        "Correct non_gpu_worst of the node in the site file.",
        lasts_s=HOUR_S,
    ),
    _alarm(
        "power_implausible",
        "power sensor of a node gives implausible values",
        "The draw is estimated from its parts.",
        "Check the BMC: its sensor may hang or have a wrong scale.",
        ended="power_plausible",
    ),
    _alarm(
        "cap_uncontrolled",
        "power limit of a GPU is raised repeatedly",
        "It counts at its maximum and gets no task. A task with root rights is killed.",
        "Find the cause; run tasks as accounts without root rights ([run_as]).",
        ended="cap_holds",
    ),
    _alarm(
        "node_quarantined",
        "agent of a node contradicts the books repeatedly",
        "The node counts in full and gets no tasks; other nodes of its domains can grow again.",
        "Check the host and its key, then: wattline node readmit NODE.",
        ended="quarantine_over",
        is_prompt=True,
    ),
    _alarm(
        "books_contradicted",
        "node contradicts the books",
        "It counts in full until its caps are read back; other leases of its domains do not grow.",
        "If it persists, check the agent's log and where its key is.",
        ended="books_agree",
    ),
    _alarm(
        "epoch_too_old",
        "node knows a later epoch than the scheduler",
        "It counts in full.",
        "The store is an old copy: stop the scheduler and start it once with --recover.",
        ended="epoch_agreed",
    ),
    _alarm(
        "node_off_but_heard",
        "node was declared off but reports",
        "It counts in full until its caps are known.",
        "Find out why it has power; declare nodes off only after verifying it.",
        lasts_s=HOUR_S,
    ),
    _alarm(
        "node_above_books",
        "node cannot be limited to its committed watts",
        "The larger value counts.",
        "Check what changed on the host: GPUs, driver, power limits.",
        lasts_s=HOUR_S,
    ),
    _alarm(
        "message_refused",
        "message of a node crashed the scheduler",
        "Its messages are ignored for an hour and it counts in full; its tasks continue.",
        "Report the text as a bug; check the agent and where its key is.",
        lasts_s=HOUR_S,
    ),
    _alarm(
        "node_greets_often",
        "node connects repeatedly",
        "Each connection replaces the previous one.",
        "Two agents use one key, or the agent exits repeatedly: see its log.",
        lasts_s=300.0,
    ),
    _alarm(
        "processes_left",
        "task left processes that could not be ended",
        "Its GPUs count as busy while they draw.",
        "Kill them on the host; the text has their process ids.",
        lasts_s=HOUR_S,
    ),
    _alarm(
        "out_of_band_failed",
        "host could not be confirmed off",
        "Its watts stay committed.",
        "Verify that it has no power, then: `wattline node off NODE --confirm NODE`.",
        ended="out_of_band_over",
    ),
    _warning(
        "out_of_band_unverified",
        "BMC of a node does not confirm that the host is on",
        "The node is not fenced when it is silent.",
        "Check its out_of_band way in the site file: the BMC may belong to another host.",
        ended="out_of_band_verified",
    ),
)

_POWER = (
    _warning(
        "over_budget",
        "domain is committed above its budget",
        "Leases in it shrink, lowest priority first.",
        "`wattline power` shows by how much and since when; nodes that do not answer delay it.",
        scope="domain",
        ended="budget_met",
        is_prompt=True,
    ),
    _domain_alarm(
        "load_unexplained",
        "meter shows load that no node draws",
        "As much is reserved in the domain.",
        "Find other equipment on the feed, or correct fixed_load in the site file.",
        ended="load_explained",
    ),
    _domain_alarm(
        "meter_stale",
        "meter gives no new values",
        "The committed watts count, or the fallback budget is in force.",
        "Check the meter's command or URL in the site file.",
        ended="meter_back",
    ),
    _domain_alarm(
        "meter_frozen",
        "meter repeats one value",
        "The committed watts count, or the fallback budget is in force.",
        "Restart the meter or its reader.",
        ended="meter_back",
    ),
    _domain_alarm(
        "meter_implausible",
        "meter gives implausible values",
        "The committed watts count, or the fallback budget is in force.",
        "Check its scale and whether it measures this domain.",
        ended="meter_back",
    ),
)

_COOLING = (
    _domain_alarm(
        "cooling_units",
        "cooling units are out of service",
        "The zone's budget is the capacity of the others.",
        "Repair the unit; set the number with `wattline cooling ZONE --units-in-service N`.",
        ended="cooling_units_back",
    ),
    _domain_alarm(
        "cooling_unseen",
        "sensor of a cooling zone gives no values",
        "The safe value is used.",
        "Check the sensor's command or URL in the site file.",
        ended="cooling_seen",
    ),
    _domain_alarm(
        "inlets_unseen",
        "too few nodes report the temperature of their inlet",
        "The zone's budget does not rise.",
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
        "backup was restored and not every node has reported since",
        "Nothing starts.",
        "Start the missing agents, or declare their nodes off.",
        scope="site",
        ended="recovery_over",
    ),
    _alarm(
        "fencing_withheld",
        "more nodes are silent than may be fenced",
        "None is switched off; gangs on them wait.",
        "Check the network. `wattline node off NODE` for hosts without power; see fence_max.",
        scope="site",
        ended="fencing_resumed",
    ),
    _alarm(
        "check_failed",
        "request was refused because of an internal error",
        "It changed nothing; the scheduler continues.",
        "Report the text as a bug; repeat the request without what the refusal names.",
        scope="site",
        lasts_s=HOUR_S,
    ),
    _alarm(
        "request_refused",
        "request that crashed the scheduler is refused",
        "It is refused for an hour, so that it does not crash the next run.",
        "Report the text as a bug; stop sending the request.",
        scope="site",
        lasts_s=HOUR_S,
    ),
    _alarm(
        "store_behind",
        "agent has tasks or numbers beyond the records",
        "Its caps are read back, and tasks that are not on record are stopped.",
        "Submit lost jobs of the last seconds before this run again; check the disk.",
        lasts_s=HOUR_S,
    ),
    _alarm(
        "disk_reserve_reached",
        "scheduler's disk is nearly full",
        "New jobs and reservations are refused; other jobs continue.",
        "Free space on the file system of the scheduler's state directory.",
        scope="site",
    ),
    _alarm(
        "service_name_taken",
        "service gets no requests: its name belongs to another user",
        "The service continues; requests of the name reach the owner's service only.",
        "Submit it with another name, or list its user in the site file ([[service]]).",
        scope="site",
        ended="service_name_freed",
        is_prompt=True,
    ),
    _warning(
        "service_down",
        "service has no replica that runs: they fail at each start",
        "Each is restarted, after at most 5 min; requests get its fallback, or 503.",
        "`wattline logs JOB` and `wattline job JOB` show why; correct it by `wattline rollout`.",
        scope="site",
    ),
    _warning(
        "slo_burning",
        "service's error budget burns faster than it can last",
        "Its scaler adds watts and replicas within their bounds.",
        "`wattline service NAME`; more replicas or a higher priority, or an SLO that it can keep.",
        scope="site",
    ),
    _warning(
        "traffic_left_out",
        "gateway has more services than a report can list",
        "Services take turns: the load of each is known less often, and it scales more slowly.",
        "Divide the services among more gateways or sites.",
        scope="site",
    ),
    _warning(
        "gateway_gone",
        "enrolled gateway does not report",
        "It may serve by its last routes: no service with an SLO stops replicas or scales to zero.",
        "Check it and its network; if it is gone for good, remove its file from `authorized/`.",
        scope="site",
        ended="gateway_back",
        is_prompt=True,
    ),
    _warning(
        "api_key_blocked",
        "API key is blocked for abuse",
        "All gateways refuse it, for `block` of [abuse] in the site file.",
        "`wattline key usage` shows the evidence; `wattline key unblock NAME`, or revoke it.",
        scope="site",
        is_prompt=True,
    ),
    _warning(
        "address_blocked",
        "address is blocked for abuse at an open gateway",
        "This gateway refuses it, for `block` of [abuse] in the site file.",
        "Correct or stop the client; make the gateway require API keys.",
        scope="site",
        lasts_s=30.0,
    ),
    _warning(
        "cost_not_limited",
        "cost limits are not enforced",
        "Running jobs with a cost limit continue; no further tasks of them start.",
        "Restore [tariff] in the site file.",
        scope="site",
    ),
)

AGENT_KINDS: frozenset[str] = frozenset(kind.name for kind in _AGENT)
"""Kinds of conditions in a beat; any other name counts as `node_problem`."""

KINDS: dict[str, ProblemKind] = {
    kind.name: kind for kind in (*_AGENT, *_NODE, *_POWER, *_COOLING, *_SITE)
}
"""By name."""
