"""What people see of a site: pure functions from its state to the views of the protocol."""
