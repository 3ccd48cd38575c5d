"""`python -m wattline_agent --bundle FILE --state-dir DIR`: what `wattline agent` runs."""

import sys

from wattline_agent.config import BadConfig, config_of, parser
from wattline_agent.daemon import EXIT_CONFIG, run_agent


def main(argv: list[str] | None = None) -> int:
    """Returns the exit code: see `daemon`."""
    options = parser().parse_args(argv)
    try:
        config = config_of(options)
    except BadConfig as error:
        print(f"wattline_agent: {error}", file=sys.stderr)
        return EXIT_CONFIG
    if options.check:
        from wattline_agent.check import print_check

        return print_check(config, is_json=options.json)
    if options.floors:
        from wattline_agent.floors import run_floors

        return run_floors(config)
    return run_agent(config)


if __name__ == "__main__":
    sys.exit(main())
