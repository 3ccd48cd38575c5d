"""Deliberate bugs, one for each rule of the protocol, that the fleet simulation must catch."""
