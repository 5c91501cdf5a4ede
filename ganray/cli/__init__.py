"""The command line: `ganray COMMAND …`, and `main` for the files of jobs/.

This is the only package that writes to the terminal. Exit codes: 0 done, 1 the run failed,
2 usage or configuration, 3 the run is complete but some inputs failed.
"""

import logging
import os
import sys
import warnings
from collections.abc import Callable, Sequence

from ganray import __version__
from ganray.cli.exit_codes import DONE, FAILED, USAGE
from ganray.errors import ConfigError, GanrayError
from ganray.pipelines.run_log import LINE

COMMANDS = {
    "restore": "restore an archive: [CONFIG.yaml] [key=value …] [--plan]",
    "train": "train a generator: [CONFIG.yaml] [key=value …] [--plan]",
    "nightly": "restore what is new until a deadline: [CONFIG.yaml] [key=value …]",
    "shard": "cut an archive into shards to train on: [CONFIG.yaml] [key=value …] [--plan]",
    "evaluate": "measure generators against bicubic: [CONFIG.yaml] [key=value …]",
    "promote": "make a generator current if it passes the gate: [CONFIG.yaml] [key=value …]",
    "registry": "generators, versions and what is current: [URI] [--json] [--rollback NAME]",
    "preview": "what a degradation does to images: [CONFIG.yaml] [key=value …]",
    "compare": "a page that compares files of one picture: A B [C …] [--output page.html]",
    "explain": "where a generator invents detail, as a page: IMAGE [key=value …]",
    "status": "counts and state of a target: TARGET [--json]",
    "runs": "a target's history of runs: TARGET [--json]",
    "ledger": "one line per input: TARGET [--json] [--state STATE]",
    "verify": "audit the archive against a target: TARGET [--json] [--repair]",
    "prune": "outputs whose inputs are gone: TARGET [--delete]",
    "inspect": "what a checkpoint or an image is: FILE [--json]; without FILE, the networks",
    "store": "the embedded object store: start|stop DIR",
    "demo": "train, evaluate and restore the sample archive: [DIR]",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; an error of ganray's is printed, not raised."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help"):
        sys.stdout.write(_usage())
        return DONE if words else USAGE
    if words[0] == "--version":
        sys.stdout.write(f"ganray {__version__}\n")
        return DONE
    if words[0] not in COMMANDS:
        sys.stderr.write(f"ganray: unknown command {words[0]!r}\n{_usage()}")
        return USAGE
    logging.basicConfig(level=logging.WARNING, format=LINE)
    # What Pillow warns of is either an error of ganray's or harmless.
    warnings.filterwarnings("ignore", module="PIL")
    try:
        return _command(words[0])(words[1:])
    except ConfigError as error:
        return _explain(words[0], str(error), USAGE)
    except GanrayError as error:
        return _explain(words[0], str(error), FAILED)
    except BrokenPipeError:
        # Whoever reads has enough. What is left in the buffer would fail once more at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except KeyboardInterrupt:
        return _explain(words[0], "interrupted; what is recorded stays done", FAILED)


def _command(name: str) -> Callable[[Sequence[str]], int]:
    """Import only the command that is asked for: torch and Ray take seconds to load."""
    match name:
        case "restore":
            from ganray.cli.restore import restore as command
        case "nightly":
            from ganray.cli.nightly import nightly as command
        case "runs":
            from ganray.cli.runs import runs as command
        case "train":
            from ganray.cli.train import train as command
        case "shard":
            from ganray.cli.shard import shard as command
        case "evaluate":
            from ganray.cli.evaluate import evaluate as command
        case "promote":
            from ganray.cli.promote import promote as command
        case "registry":
            from ganray.cli.registry import registry as command
        case "preview":
            from ganray.cli.preview import preview as command
        case "compare":
            from ganray.cli.compare import compare as command
        case "explain":
            from ganray.cli.explain import explain as command
        case "status":
            from ganray.cli.target import status as command
        case "ledger":
            from ganray.cli.target import ledger as command
        case "verify":
            from ganray.cli.target import verify as command
        case "prune":
            from ganray.cli.target import prune as command
        case "inspect":
            from ganray.cli.inspect import inspect as command
        case "store":
            from ganray.cli.store import store as command
        case _:
            from ganray.cli.demo import demo as command
    return command


def _usage() -> str:
    lines = [f"  {name:<9} {text}" for name, text in COMMANDS.items()]
    return "\n".join(
        ["usage: ganray COMMAND …", "", *lines, "", "ganray restore --help lists every field.", ""]
    )


def _explain(command: str, message: str, code: int) -> int:
    sys.stderr.write(f"ganray {command}: {message}\n")
    return code
