"""Train a generator adversarially.

python jobs/train.py [CONFIG.yaml] [key=value …] [--plan]
ray job submit --working-dir . -- python jobs/train.py jobs/configs/train.yaml key=value
"""

import sys

from ganray.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
