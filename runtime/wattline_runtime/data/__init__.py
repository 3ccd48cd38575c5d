"""Data sets: manifests, stores, versions that are added and verified, and checks of what they hold."""
