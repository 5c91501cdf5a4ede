"""Restore an archive.

python jobs/restore.py [CONFIG.yaml] [key=value …] [--plan]
ray job submit --working-dir . -- python jobs/restore.py jobs/configs/restore.yaml key=value
"""

import sys

from ganray.cli import main

if __name__ == "__main__":
    sys.exit(main(["restore", *sys.argv[1:]]))
