"""python -m torchhebb and the command torchhebb: what must be set before torch is imported, then the command line."""

import gc
import os
import sys


def main() -> int:
    """Let threads that wait sleep, unless OMP_WAIT_POLICY says otherwise, and run one command.

    By default they spin, and two processes on the same cores then hold each other up.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    gc.disable()  # an import makes many objects and hardly any garbage: to search for it is a fifth of the start
    from torchhebb.cli import main as command

    gc.freeze()  # later searches leave what was imported aside
    gc.enable()
    return command()


if __name__ == "__main__":
    sys.exit(main())
