"""Promote a generator in a registry, if it passes the gate.

python jobs/promote.py [CONFIG.yaml] [key=value …]
ray job submit --working-dir . -- python jobs/promote.py jobs/configs/promote.yaml key=value
"""

import sys

from ganray.cli import main

if __name__ == "__main__":
    sys.exit(main(["promote", *sys.argv[1:]]))
