"""The table of verbs, from which the command, its help and `docs/cli.md` derive."""
