"""What benchmarks stand on: a site on loopback, its scheduler, clients and agents."""
