"""The central scheduler of a site: one state, one door for change, plans and leases."""
