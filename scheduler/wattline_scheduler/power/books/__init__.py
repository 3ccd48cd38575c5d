"""Committed watts of each node, and admission against them."""
