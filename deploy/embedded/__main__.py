"""`python -m deploy.embedded`: the embedded stack by itself, for people who run the roles one by one.

Prints the variables that point a program at the servers, then waits for Ctrl-C.
"""

import argparse
import logging
import signal
import sys
from pathlib import Path

from deploy.embedded.errors import EmbeddedError
from deploy.embedded.stack import SERVICES, Stack


def main() -> int:
    """Run until SIGINT or SIGTERM; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m deploy.embedded", description=__doc__)
    parser.add_argument(
        "--data-dir", type=Path, default=Path(".run"), help="where data and logs are kept (default: .run)"
    )
    parser.add_argument(
        "services", nargs="*", default=SERVICES, help=f"of {', '.join(SERVICES)} (default: all)"
    )
    arguments = parser.parse_args()
    if unknown := set(arguments.services) - set(SERVICES):
        parser.error(f"no such service: {', '.join(sorted(unknown))}")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    signals = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    stack = Stack(arguments.data_dir)
    try:
        stack.start(arguments.services)
        signal.pthread_sigmask(signal.SIG_BLOCK, signals)
        for name, value in stack.environment().items():
            print(f"{name}={value}", flush=True)
        signal.sigwait(signals)
    except EmbeddedError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    stack.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
