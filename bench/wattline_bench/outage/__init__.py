"""What a service loses while its programs, hosts and gateways fail, and while its watts shrink."""
