"""Power domains and cooling zones as rows over nodes, and the budgets in force."""
