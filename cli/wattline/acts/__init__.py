"""Implementation of the verbs: one function per verb, named in the table, imported on use."""
