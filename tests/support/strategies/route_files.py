"""Files of routes that more than one room of the tests reads."""

FULL_ROUTE = """kind = "route"
[[route]]
name = "digits"
to = "small"
sticky = "X-User"
[[route.rule]]
tiers = ["gold"]
max_inputs = 4
max_body = "64KiB"
to = "large"
[[route.rule]]
min_inputs = 9
min_body = "64KiB"
header = { X-Team = ["a", "b"] }
field = { "input.mode" = ["fast", 1, true] }
cascade = ["small", "large"]
limit = 0.8
confidence = "scores.0"
[[route.rule]]
share = 0.05
to = "canary"
"""
"""Has every key once."""
