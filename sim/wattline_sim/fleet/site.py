"""A whole simulated site: hosts, agents, scheduler, a client that insists, and the checks."""

import functools
import random
from collections.abc import Callable, Iterable, Mapping, Sequence

from wattline_protocol.ids import JobId, NodeId, UserName
from wattline_protocol.job.selection import only
from wattline_protocol.job.spec import JobSpec
from wattline_protocol.site.model import Site
from wattline_protocol.wire.client_messages import (
    Answer,
    Cancel,
    DeclareOff,
    DeclareOn,
    Denied,
    Release,
    Request,
    Requeue,
    Restore,
    Submit,
    Submitted,
    Undrain,
)
from wattline_protocol.wire.nodes.acts import Readmit
from wattline_protocol.wire.rollouts import RolloutOptions
from wattline_scheduler.core.model.effects import ActOutOfBand
from wattline_scheduler.core.model.power_off_attempts import Purpose
from wattline_scheduler.records import JobRecord, Record
from wattline_sim.fleet.adversaries.foreign import ForeignUse
from wattline_sim.fleet.adversaries.lying import Lying
from wattline_sim.fleet.adversaries.raising import Raising
from wattline_sim.fleet.agent_shell import SCHEDULER, AgentShell
from wattline_sim.fleet.allowances import Allowances
from wattline_sim.fleet.disk import Key
from wattline_sim.fleet.fencing import Fencing, lying_bmcs, with_fencing
from wattline_sim.fleet.machine import Gpu, Machine
from wattline_sim.fleet.network import Network
from wattline_sim.fleet.preempted import check_preempted
from wattline_sim.fleet.scheduler_shell import OPERATOR, SchedulerShell
from wattline_sim.fleet.story import Story
from wattline_sim.fleet.switches import Switches, with_switches
from wattline_sim.fleet.truth import NumberedTwice, Truth
from wattline_sim.fleet.users.cordoning import Cordoning, check_cordons
from wattline_sim.fleet.users.data_sets import DataSets
from wattline_sim.fleet.users.job_options import with_wishes
from wattline_sim.fleet.users.mig import Dividing, check_devices
from wattline_sim.fleet.users.naming import Naming, check_names
from wattline_sim.fleet.users.outputs import check_outputs
from wattline_sim.fleet.users.quotas import with_place, with_quotas
from wattline_sim.fleet.users.reserving import Reserving, check_placed
from wattline_sim.fleet.users.rolling import Rolling, check_replaced
from wattline_sim.fleet.users.scaling import Scaled, check_scaled
from wattline_sim.fleet.users.scenario import GPUS_PER_NODE, random_site
from wattline_sim.fleet.world import World

ASK_AGAIN_S = 1.0
RESTORE_GAP_S = 10.0
LATEST_TAKEN_S = 20.0
"""A scheduler that stalled takes messages later than they arrive; this long after it, none."""


class FleetSite:
    """Everything of one run; the seed decides all of it."""

    def __init__(self, seed: int) -> None:
        self.world = World(seed)
        self.story = Story()
        self.network = Network(self.world)
        dice = random.Random(f"{seed} out of band")
        fence_dice = random.Random(f"{seed} fencing")
        plain = with_fencing(with_switches(random_site(self.world.rng), dice), fence_dice)
        self._quota_dice = random.Random(f"{seed} quotas")
        self.naming = Naming(random.Random(f"{seed} names"))
        named = self.naming.with_services(with_quotas(plain, self._quota_dice))
        self.site = self._with_gateways(named, seed)
        self.machines = {n.id: Machine(self.world, n.id, GPUS_PER_NODE) for n in self.site.nodes}
        self.dividing = Dividing(
            self.world, self.story, self.machines, random.Random(f"{seed} MIG")
        )
        self.truth = Truth(self.site, self.machines)
        self.foreign = ForeignUse(
            self.world, self.story, self.machines, random.Random(f"{seed} foreign")
        )
        self.truth.is_reserve = self.foreign.is_reserve
        self.truth.check_given = self.foreign.check_start
        self.switches = Switches(
            self.world, self.story, self.site, self.machines, dice, self.cut_power
        )
        self.is_faulty = True
        self.scheduler = SchedulerShell(
            self.world,
            self.network,
            self.site,
            self.story,
            self.check,
            lambda: self.is_faulty,
            self.switches.act,
        )
        self.fencing = self._fencing(fence_dice)
        self.scheduler.disk.on_booked = self.truth.booked
        self.scheduler.disk.on_job = self.truth.saw_job
        self.allowances = Allowances(self.site, lambda: self.world.now_s)
        self.scheduler.disk.on_commit = self._committed
        self.scheduler.disk.on_found = self._found
        self.agents = {
            node: AgentShell(
                self.world, self.network, machine, self._checks_of(node), lambda: self.is_faulty
            )
            for node, machine in self.machines.items()
        }
        self.raising = Raising(self.world, self.machines, self._is_disturbed, self._is_covered)
        self.truth.excused = self.raising.excused
        for node, agent in self.agents.items():
            agent.on_start = functools.partial(self.raising.disturb, node)
        liars = random.Random(f"{seed} liars")
        self.lying = Lying(self.world, self.network, self.machines, liars)
        self.truth.liars = self.allowances.liars = self.lying.ever
        self.foreign.is_doubtful = self._is_doubtful
        self.truth.is_trusted = self._is_trusted
        self.accepted: dict[JobId, JobSpec] = {}
        self.answered: set[str] = set()
        """Tokens of submissions."""
        self.lost: set[JobId] = set()
        """Jobs that were on record before a backup was restored, and not in it."""
        self.refused: list[str] = []
        self._wishes = random.Random(f"{seed} wishes")
        self._add_operators(seed)
        self.data = self._data_sets(seed)
        self._cancelled: set[JobId] = set()
        self._unplugged: set[NodeId] = set()
        self._asks = 0
        self._restored_s = -RESTORE_GAP_S

    def _add_operators(self, seed: int) -> None:
        nodes, dice = sorted(self.machines), random.Random(f"{seed} reservations")
        self.reserving = Reserving(self.world, nodes, dice)
        cordon_dice = random.Random(f"{seed} cordons")
        self.cordoning = Cordoning(self.world, self.story, self.machines, cordon_dice)

    def _data_sets(self, seed: int) -> DataSets:
        data = DataSets(self.world, self.machines, random.Random(f"{seed} data"))
        self.scheduler.disk.begin_with(data.records())
        for node, cache in data.caches.items():
            self.agents[node].give_cache(cache)
        return data

    def _with_gateways(self, plain: Site, seed: int) -> Site:
        dice = random.Random(f"{seed} gateways")
        self.rolling = Rolling(self.world, dice, may=self.naming.is_wanted)
        site = self.rolling.with_gateways(plain)
        self.scaled = Scaled(self.world, random.Random(f"{seed} scaled"), may=not site.gateways)
        return self.scaled.with_gateways(site)

    def _fencing(self, dice: random.Random) -> Fencing:
        if self.site.timing.fence_after_s:
            self.switches.lies = lying_bmcs(self.site, dice)
        self.switches.purpose_of = self._purpose_of
        return Fencing(
            self.world,
            self.site,
            self._is_sound,
            self._silent_since_s,
            lambda: not self.is_faulty,
            dice,
            self.switches.lies,
        )

    def start(self) -> None:
        """Power everything on, in any order."""
        self.world.after(self.world.rng.uniform(0.0, 2.0), self.scheduler.start)
        for agent in self.agents.values():
            self.world.after(self.world.rng.uniform(0.0, 3.0), agent.start)
        self.dividing.begin()
        self.foreign.begin()
        self.fencing.begin()
        self.switches.tempt(self.order, lambda: not self.is_faulty)
        self.reserving.begin(self.order, lambda: self.accepted, lambda: not self.is_faulty)
        self.cordoning.begin(self.order, lambda: not self.is_faulty)
        for users in (self.rolling, self.scaled):
            users.begin(
                lambda: self.scheduler.cluster, self.tell, self.roll_out, lambda: not self.is_faulty
            )

    def machine(self, node: NodeId) -> Machine:
        """The host of this name."""
        return self.machines[node]

    def check(self, only: NodeId | None = None) -> None:
        """After every step: of the scheduler, or of the agent of one node."""
        self.truth.check(self.scheduler.disk.books, only)

    def _committed(self, before: Mapping[Key, Record], records: Sequence[Record]) -> None:
        check_placed(before, records)
        check_cordons(before, records, self.scheduler.handled)
        check_names(self.site, before, records)
        check_outputs(records)
        check_replaced(before, records)
        check_scaled(before, records)
        check_preempted(self.allowances, before, records)
        self.fencing.check_commit(before, records)
        check_devices(before, records)
        self.foreign.check_books(records)
        self.allowances.committed(records)
        self.lying.saw(records)

    def _is_sound(self, node: NodeId) -> bool:
        """Its agent works, and the network between it and the scheduler is calm."""
        ways = ((node, SCHEDULER), (SCHEDULER, node))
        is_at_work = self.agents[node].is_at_work(self.scheduler.knows(node))
        return is_at_work and self.network.weather.is_calm(ways)

    def _silent_since_s(self, node: NodeId) -> float | None:
        is_clear = node not in self.lying.ever and self.scheduler.has_run_s > LATEST_TAKEN_S
        return self.network.arrived_s.get(node) if is_clear else None

    def _purpose_of(self, order: ActOutOfBand) -> Purpose:
        """What the order is for; the intent to fence must be on disk by now."""
        cluster = self.scheduler.cluster
        one = None if cluster is None else cluster.state.off_attempts.under_way.get(order.node)
        purpose = "operator" if one is None or one.number != order.number else one.purpose
        self.fencing.check_order(order.node, purpose, self.scheduler.disk.records)
        return purpose

    def _found(self, records: Iterable[Record]) -> None:
        self.allowances.found(records)
        self.lying.saw(records)

    def _is_trusted(self, node: NodeId) -> bool:
        if self.agents[node].is_at_work(self.scheduler.knows(node)):
            self.lying.adopted(node)
        return self.lying.is_trusted(node)

    def _is_doubtful(self, node: NodeId) -> bool:
        """Its agent lied, or others raise its caps."""
        return node in self.lying.ever or self.raising.is_busy(node)

    def stop_lying(self, node: NodeId) -> None:
        """Somebody installs the host again; once that is done its key is readmitted."""
        self.lying.end(node)
        self.crash_agent(node, 0.5)
        if not self.is_faulty:
            self.insist(Readmit(node, "installed again"))

    def is_growth_stopped(self) -> bool:
        """Somewhere, by a contradiction."""
        cluster = self.scheduler.cluster
        return cluster is not None and bool(cluster.state.contradicted)

    def _is_disturbed(self, node: NodeId, gpu: Gpu) -> bool:
        """Something is wrong between a GPU and the scheduler's disk."""
        is_hung = gpu.hung_until_s > self.world.now_s or gpu.is_lost or not gpu.is_settable
        return is_hung or not self.scheduler.is_at_work or not self._is_sound(node)

    def _is_covered(self, node: NodeId) -> bool:
        return self.truth.is_covered(node, self.scheduler.disk.books)

    def _checks_of(self, node: NodeId) -> Callable[[], None]:
        return lambda: self.check(node)

    # --- what people do -----------------------------------------------------------------

    def submit(self, spec: JobSpec) -> None:
        """Submit until accepted, with one token, as a careful client does."""
        token = f"token-{spec.name}"
        spec, user = self.naming.submitted(spec)
        spec = with_wishes(spec, self.accepted, self._wishes)
        spec = with_place(spec, self.site, self._quota_dice)
        spec = self.dividing.with_devices(spec)
        spec = self.data.with_data(spec)

        def take(answer: Answer) -> None:
            self.answered.add(token)
            if isinstance(answer, Submitted):
                if answer.job in self.accepted:
                    others = self.accepted[answer.job].name
                    raise NumberedTwice(f"job {answer.job} is {spec.name}, and was {others}")
                self.accepted[answer.job] = spec
                if spec.kind == "service":
                    self._serve(answer.job)
            elif isinstance(answer, Denied):
                self.refused.append(f"{spec.name}: {answer.reason}")

        self.insist(Submit(spec, token), take, user)

    def roll_out(self, spec: JobSpec, options: RolloutOptions | None, user: UserName) -> None:
        """Submit the next revision of a service."""
        token = f"next-{self._asks}"

        def take(answer: Answer) -> None:
            if isinstance(answer, Submitted):
                self.accepted[answer.job] = spec
                self.world.after(
                    self.world.rng.uniform(30.0, 90.0), lambda: self.cancel(answer.job)
                )

        self.insist(Submit(spec, token, options), take, user)

    def _serve(self, job: JobId) -> None:
        """A service runs for a while, and perhaps its user wants it again for another."""
        self.world.after(self.world.rng.uniform(5.0, 40.0), lambda: self.cancel(job))
        again = self.naming.comeback_s()
        if again is None:
            return
        after_s, for_s = again
        self.world.after(after_s, lambda: self.order(Requeue(only(job), f"again-{job}")))
        self.world.after(after_s + for_s, lambda: self.cancel(job))

    def cancel(self, job: JobId) -> None:
        """Cancel until it is done."""
        self._cancelled.add(job)
        self.insist(Cancel(only(job)))

    def mend(self) -> None:
        """Say again what people want: a backup that was put back knows older words of theirs."""

        def say() -> None:
            for domain in self.site.domains:
                self.insist(Restore(domain.id, reason="healed"))
            for node in self.site.nodes:
                self.insist(Undrain(node.id))
                self.insist(Readmit(node.id, "healed"))
            ended = self.reserving.ended(sorted(self._jobs_on_record()))
            for request in (*ended, *self.cordoning.ended()):
                self.insist(request)
            for job in sorted(self._jobs_on_record()):
                self.insist(Cancel(only(job)) if job in self._cancelled else Release(only(job)))

        self.dividing.heal(self.reboot)
        self.foreign.heal()
        self._once_recovered(say)

    def readmit_quarantined(self) -> None:
        """What operators do about that alarm: a lie may still arrive after all has healed."""
        cluster = self.scheduler.cluster
        for node in () if cluster is None else cluster.state.nodes.values():
            if node.record.is_quarantined and not self.lying.lies(node.id):
                self.insist(Readmit(node.id, "healed"))

    def reboot(self, node: NodeId, down_s: float = 1.0) -> None:
        """The host boots; its agent is there again after a while."""
        self.crash_agent(node, down_s)
        self.machines[node].reboot()

    def crash_agent(self, node: NodeId, down_s: float) -> None:
        """SIGKILL the agent; it starts again after a while."""
        self.agents[node].crash()
        self.world.after(down_s, self.agents[node].start)

    def restart_agent(self, node: NodeId, down_s: float) -> None:
        """Stop the agent in order; it starts again after a while."""
        self.agents[node].stop()
        self.world.after(down_s, self.agents[node].start)

    def power_off(self, node: NodeId, for_s: float) -> None:
        """Pull the plug, say so, and later plug it in again."""
        if node not in self._unplugged:
            self.cut_power(node, for_s)
            self.order(DeclareOff(node, confirmation=node, reason="plug pulled"))

    def cut_power(self, node: NodeId, for_s: float) -> None:
        """The host goes dark; later somebody tells the scheduler and switches it on again."""
        machine = self.machines[node]
        self._unplugged.add(node)
        self.agents[node].crash()
        machine.reboot()
        machine.is_up = False

        def on_again() -> None:
            def power_up(_: Answer) -> None:
                self._unplugged.discard(node)
                machine.is_up = True
                self.agents[node].start()

            self.insist(DeclareOn(node), power_up)

        self.world.after(for_s, on_again)

    def restore_backup(self, backup: bytes, down_s: float) -> None:
        """The scheduler's disk is replaced by an old copy; what it does not know is lost.

        Nobody restores twice in a few seconds: the epochs of recoveries are wall-clock seconds.
        """
        if self.world.now_s - self._restored_s < RESTORE_GAP_S:
            return
        self._restored_s = self.world.now_s
        on_record = self._jobs_on_record()
        self.scheduler.restore(backup, down_s)

        def look() -> None:
            self.lost |= on_record - self._jobs_on_record()

        self._once_recovered(look)

    def _once_recovered(self, act: Callable[[], None]) -> None:
        """Act when what is on record is what the scheduler goes by: now, or soon."""
        if self.scheduler.must_recover:
            self.world.after(ASK_AGAIN_S, lambda: self._once_recovered(act))
        else:
            act()

    def _jobs_on_record(self) -> set[JobId]:
        return {record.id for record in self.scheduler.disk.every(JobRecord)}

    # --- asking -------------------------------------------------------------------------

    def order(self, request: Request) -> None:
        """Ask once: lost if the scheduler is down."""
        self.tell(request, OPERATOR)

    def tell(self, request: Request, user: UserName) -> None:
        """The same as somebody else."""
        self._asks += 1
        self.scheduler.ask(self._asks, request, user)

    def insist(
        self,
        request: Request,
        take: Callable[[Answer], None] = lambda _: None,
        user: UserName = OPERATOR,
    ) -> None:
        """Ask until there is an answer to the last try, and take it.

        Each try has a number of its own: a scheduler that stalled answers all of them, and may deny
        the first and accept the second, a rollout having ended between them.
        """

        def ask() -> None:
            self.tell(request, user)
            number = self._asks
            self.world.after(ASK_AGAIN_S, lambda: hear(number))

        def hear(number: int) -> None:
            answer = self.scheduler.answers.get(number)
            if answer is None:
                ask()
            else:
                take(answer)

        ask()
