"""What enforces a budget that ordinary leases cannot: pause, fence, power off."""
