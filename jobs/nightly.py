"""Restore what is new in an archive, until a deadline: what a schedule calls every night.

python jobs/nightly.py [CONFIG.yaml] [key=value …] [--plan]
ray job submit --working-dir . -- python jobs/nightly.py jobs/configs/nightly.yaml key=value
"""

import sys

from ganray.cli import main

if __name__ == "__main__":
    sys.exit(main(["nightly", *sys.argv[1:]]))
