"""The command line: `ganray COMMAND …`, and `main` for the files of jobs/.

This is the only package that writes to the terminal. Exit codes: 0 done, 1 the run failed,
2 usage or configuration, 3 the run is complete but some inputs failed.
"""

import logging
import sys
from collections.abc import Callable, Sequence

from ganray import __version__
from ganray.cli.exit_codes import FAILED, USAGE
from ganray.cli.jobs import evaluate, restore, train
from ganray.cli.tools import demo, inspect, ledger, status, store, verify
from ganray.errors import ConfigError, GanrayError

COMMANDS: dict[str, tuple[Callable[[Sequence[str]], int], str]] = {
    "restore": (restore, "restore an archive: [CONFIG.yaml] [key=value …] [--plan]"),
    "train": (train, "train a generator: [CONFIG.yaml] [key=value …] [--plan]"),
    "evaluate": (evaluate, "measure generators against bicubic: [CONFIG.yaml] [key=value …]"),
    "status": (status, "counts and state of a target: TARGET [--json]"),
    "ledger": (ledger, "one line per input: TARGET [--json]"),
    "verify": (verify, "audit the archive against a target: TARGET [--json]"),
    "inspect": (inspect, "what a checkpoint or an image is: FILE [--json]"),
    "store": (store, "the embedded object store: start|stop DIR"),
    "demo": (demo, "train, evaluate and restore the sample archive: [DIR]"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; an error of ganray's is printed, not raised."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    if not words or words[0] in ("-h", "--help"):
        _print_usage()
        return 0 if words else USAGE
    if words[0] == "--version":
        sys.stdout.write(f"ganray {__version__}\n")
        return 0
    if words[0] not in COMMANDS:
        sys.stderr.write(f"ganray: unknown command {words[0]!r}\n")
        _print_usage()
        return USAGE
    command, _ = COMMANDS[words[0]]
    try:
        return command(words[1:])
    except ConfigError as error:
        sys.stderr.write(f"ganray {words[0]}: {error}\n")
        return USAGE
    except GanrayError as error:
        sys.stderr.write(f"ganray {words[0]}: {error}\n")
        return FAILED
    except KeyboardInterrupt:
        sys.stderr.write(f"ganray {words[0]}: interrupted; what is recorded stays done\n")
        return FAILED


def _print_usage() -> None:
    lines = [f"  {name:<9} {text}" for name, (_, text) in COMMANDS.items()]
    sys.stdout.write("usage: ganray COMMAND …\n\n" + "\n".join(lines) + "\n")
    sys.stdout.write("\nganray restore|train|evaluate --help lists every field.\n")
