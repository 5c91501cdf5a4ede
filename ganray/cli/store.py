"""`ganray store`: the embedded object store, started and stopped by hand."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ganray import object_store
from ganray.cli.exit_codes import DONE
from ganray.cli.terminal import say


def store(words: Sequence[str]) -> int:
    """`ganray store start|stop DIR`."""
    parser = argparse.ArgumentParser("ganray store", description="the embedded object store")
    parser.add_argument("action", choices=["start", "stop"])
    parser.add_argument("folder", type=Path)
    options = parser.parse_args(words)
    if options.action == "stop":
        stopped = object_store.stop(options.folder)
        say("stopped" if stopped else f"no store runs in {options.folder}")
        return DONE
    running = object_store.start(options.folder)
    # Only what a shell evaluates goes to standard output: eval "$(ganray store start DIR)".
    for name, value in running.environment.items():
        say(f"export {name}={value}")
    sys.stderr.write(f"S3 endpoint {running.endpoint_url}, data in {running.folder}\n")
    return DONE
