"""Shell completion: words that may follow on a command line."""

COMPLETE = "_WATTLINE_COMPLETE"
"""Variable that the script of a shell sets when it asks for them."""
