"""Random users of a simulated site: jobs, names, quotas, reservations, MIG devices."""
