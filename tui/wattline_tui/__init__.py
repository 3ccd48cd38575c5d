"""The operator terminal: one site on one screen, keys to act, nothing hidden."""
