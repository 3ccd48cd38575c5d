"""Renderers of services behind gateways."""
