"""Measure generators against bicubic.

python jobs/evaluate.py [CONFIG.yaml] [key=value …]
ray job submit --working-dir . -- python jobs/evaluate.py jobs/configs/evaluate.yaml key=value
"""

import sys

from ganray.cli import main

if __name__ == "__main__":
    sys.exit(main(["evaluate", *sys.argv[1:]]))
