"""Evaluation: replays of public traces, fits of constants, plots; not part of the product."""
