"""Acts on services behind gateways."""
