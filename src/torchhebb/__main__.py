"""python -m torchhebb"""

import sys

from torchhebb.cli import main

if __name__ == "__main__":
    sys.exit(main())
