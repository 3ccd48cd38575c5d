"""The operator terminal: one site on one screen, with keys for all acts."""
