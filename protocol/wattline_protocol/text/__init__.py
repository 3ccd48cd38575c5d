"""Text forms of values: TOML, quantities, moments, names."""
