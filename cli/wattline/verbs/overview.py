"""What `wattline --help` shows: one screen, sorted by role, several verbs a line."""

OVERVIEW: dict[str, tuple[tuple[str, str], ...]] = {
    "Users": (
        ("submit, run, attach, update", "Submit; run in place, on a terminal; change."),
        ("jobs, job, explain, whatif", "Show jobs and wait reasons; predict starts."),
        ("hold, release, cancel, requeue", "Hold jobs; release, stop, requeue them."),
        ("services, service, rollout", "Show services; roll out a revision."),
        ("runs, data, secret, accounts", "Runs; data sets; keys for jobs; shares."),
        ("top, nodes, node, reservations", "Live view; list nodes; list reservations."),
        ("power, cooling, meters, quotas", "Show budgets, zones, meters; list quotas."),
        ("key, infer, model, capacity", "API keys; answer a file; compare; plan."),
        ("logs, events, problems, report", "Output; event log; alarms; usage, cost."),
    ),
    "Operators": (
        ("init, enroll, completion", "Create a site; admit members; completion."),
        ("scheduler, agent, gateway", "Run the programs of a site."),
        ("drain, undrain, problems ack", "Stop, allow starts; acknowledge problems."),
        ("cordon, uncordon", "Mark one GPU unschedulable, or schedulable."),
        ("node off|on|readmit", "Declare a node off; take it back; trust it."),
        ("reserve, unreserve, plan", "Reserve nodes; save a planning cycle."),
        ("power shed|restore|event", "Lower a budget; restore it; add grid events."),
    ),
    "Simulation": (("demo, sim, replay, bench", "Simulate; plan public traces; measure."),),
}
"""Section to rows: verbs (`node off|on` are two), and what they do."""
