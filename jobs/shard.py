"""Cut an archive once into shards, for trainings of many epochs.

python jobs/shard.py [CONFIG.yaml] [key=value …] [--plan]
ray job submit --working-dir . -- python jobs/shard.py jobs/configs/shard.yaml key=value
"""

import sys

from ganray.cli import main

if __name__ == "__main__":
    sys.exit(main(["shard", *sys.argv[1:]]))
