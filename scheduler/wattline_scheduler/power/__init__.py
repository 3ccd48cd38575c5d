"""Domains, books, demand, allocator, leases: from budgets to watts per node; pure."""
