"""What `wattline --help` shows: one screen, sorted by role, several verbs a line."""

OVERVIEW: dict[str, tuple[tuple[str, str], ...]] = {
    "Users": (
        ("submit, run, hold, release", "Submit a job; run one in place; hold it."),
        ("jobs, job, explain, whatif", "Show jobs and wait reasons; predict starts."),
        ("logs, cancel, requeue, update", "Show output; stop, requeue, change jobs."),
        ("services, service, rollout", "Show services; roll out a revision."),
        ("runs, data, secret, accounts", "Runs; data sets; keys for jobs; quotas."),
        ("nodes, node, reservations", "List nodes; show one; list reservations."),
        ("power, cooling, meters", "Show budgets, cooling zones and power meters."),
        ("key, infer, model, capacity", "API keys; answer a file; compare; plan."),
        ("top, events, problems, report", "Live view; event log; alarms; usage, cost."),
    ),
    "Operators": (
        ("init, enroll, completion", "Create a site; admit members; complete words."),
        ("scheduler, agent, gateway", "Run the programs of a site."),
        ("drain, undrain, problems ack", "Stop, allow starts; acknowledge problems."),
        ("node off|on|readmit", "Declare a node off; take it back; trust it."),
        ("reserve, unreserve, plan", "Reserve nodes; save a planning cycle."),
        ("power shed|restore|event", "Lower a budget; restore it; add grid events."),
    ),
    "Simulation": (
        ("demo, sim", "Run a simulated site; simulate GPUs, a fleet."),
        ("replay, bench", "Plan public traces; measure the programs."),
    ),
}
"""Section to rows: verbs (`node off|on` are two), and what they do."""
