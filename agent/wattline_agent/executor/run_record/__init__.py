"""The record of an attempt's run on its node."""
