"""From budgets to watts per node: domains, books, demand, allocator, leases; pure."""
