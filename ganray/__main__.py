"""`python -m ganray` is the same as `ganray`."""

import sys

from ganray.cli import main

if __name__ == "__main__":
    sys.exit(main())
