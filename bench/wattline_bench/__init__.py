"""Benchmarks: one module measures one thing, with real processes, and says which budgets it missed.

A module has a result struct (`verdict.Figures`) and `measure(**options)`; the verbs of
`wattline bench` name them.
"""
