"""The demo of a burst: the load of a service triples beside training that is preempted."""
