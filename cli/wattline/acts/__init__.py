"""What the verbs do: one function per verb, named in the table, imported when it is run."""
