"""Implementation of the verbs that replay and simulate."""
