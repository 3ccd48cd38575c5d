"""One pod after the other onto a fleet until it is full: the lists and protocol of FGD."""
