"""The process that fuzzes one target: `python -m fuzz.inside TARGET LIBFUZZER-OPTIONS`.

Only the parsers' own packages are instrumented, as they are imported: instrumenting everything
that is loaded takes longer than a short run lasts.
"""

import sys

import atheris

PARSERS = ("wattline_protocol", "wattline_agent", "wattline_runtime", "tomllib", "uvicorn")


def main() -> None:
    """Ends the process: libFuzzer does not return."""
    with atheris.instrument_imports(include=list(PARSERS)):
        from fuzz.targets import by_name, feed
    name, *options = sys.argv[1:]
    target = by_name()[name]
    target.feed(target.seeds[0])  # what is made once is not part of a run
    atheris.Setup([sys.argv[0], *options], lambda data: feed(target, data))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
