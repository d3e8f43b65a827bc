"""The way in for the console script and for `python -m dlsp`: makes sure that `engine` means ours, then runs the command line.

`engine` is also the name of many users' own folders, and the working directory or PYTHONPATH may put one of those first.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

_HOME = Path(__file__).resolve().parent.parent


def main() -> None:
    """Run the command line. Does not return: it ends with the exit status."""
    _prefer_own_engine()
    # Not before: these imports pull in `engine.errors`, and the first `engine` that is imported stays.
    from dlsp.cli.main import main as run

    run()


def _prefer_own_engine() -> None:
    """Take entries out of `sys.path` until `engine` is found next to this package. Looking for it does not run it."""
    while (spec := find_spec("engine")) is not None:
        # A folder without __init__.py has no origin; it would win all the same against an editable install, whose finder comes last.
        locations = [Path(location).resolve() for location in spec.submodule_search_locations or ()]
        foreign = {location.parent for location in locations} - {_HOME}
        remaining = [entry for entry in sys.path if Path(entry or ".").resolve() not in foreign]
        if not foreign or len(remaining) == len(sys.path):
            return
        sys.path[:] = remaining


if __name__ == "__main__":
    # `-m` put the working directory first (unless -P was given); nothing we need is there, and a file of the user's must not
    # stand in for a library of ours.
    if not sys.flags.safe_path and sys.path and Path(sys.path[0] or ".").resolve() != _HOME:
        del sys.path[0]
    main()
