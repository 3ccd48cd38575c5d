"""Columns of data sets: summaries in bounded memory, checks of one version against another.

`docs/data-checks.md` has the rules. A summary is a monoid: what is added, in which order and in
which batches, makes no difference. Everything here but `readers` and `summarize` is pure.
"""
