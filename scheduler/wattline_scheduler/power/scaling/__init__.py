"""How many watts and how many replicas a service gets, from the load that gateways measure."""
