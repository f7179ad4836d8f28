"""python -m torchhebb and the command torchhebb: settings that torch reads at its import, then the command line."""

import os
import sys


def main() -> int:
    """Let threads that wait sleep, unless OMP_WAIT_POLICY says otherwise, and run one command.

    By default they spin, and two processes on the same cores then hold each other up.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    from torchhebb.cli import main as command

    return command()


if __name__ == "__main__":
    sys.exit(main())
