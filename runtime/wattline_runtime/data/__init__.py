"""Data sets: manifests, stores, versions that are added and verified; checks of their columns."""
