"""The demo: the whole line on the sample archive, through a real object store, by the same
commands that a user types.

Every step is a `ganray` command of its own; nothing is left running, however the demo ends.
"""

import argparse
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from ganray import object_store
from ganray.cli.exit_codes import DONE, SOME_INPUTS_FAILED
from ganray.cli.picture import write_before_after
from ganray.cli.terminal import say
from ganray.errors import ConfigError, RunFailedError
from ganray.sample import write_sample
from ganray.storage import open_store

DEMO_FOLDER = Path("ganray-demo")
MARKER = ".ganray-demo"
ARCHIVE, RESTORED, TRAINING = "s3://archive", "s3://restored", "s3://training"
SECONDS_TO_STOP = 30.0
PICTURE = "before-after.jpg"


def demo(words: Sequence[str]) -> int:
    """`ganray demo [DIR]`."""
    parser = argparse.ArgumentParser("ganray demo", description="the main line, end to end")
    parser.add_argument("folder", type=Path, nargs="?", default=DEMO_FOLDER)
    parser.add_argument("--steps", type=int, default=120, help="adversarial steps of the training")
    options = parser.parse_args(words)
    return run_demo(options.folder, adversarial_steps=options.steps)


def run_demo(folder: Path, *, adversarial_steps: int) -> int:
    """Run all steps in `folder`, which is made anew; raises RunFailedError if a step fails."""
    started = time.monotonic()
    signal.signal(signal.SIGTERM, _interrupt)
    _empty(folder)
    write_sample(folder / "sample")
    say("starting the object store (OpenStack Swift, S3 API, loopback)")
    with object_store.running(folder / "store") as store:
        _enter(store)
        for uri in (ARCHIVE, RESTORED, TRAINING):
            store.create_bucket(uri.removeprefix("s3://"))
        num_files = _upload(folder / "sample", ARCHIVE)
        say(f"uploaded {num_files} files to {ARCHIVE} at {store.endpoint_url}")
        _train(adversarial_steps)
        _run(
            "evaluate",
            f"archive={ARCHIVE}/held-out",
            f"generators=[{TRAINING}/generator.safetensors]",
            f"output={folder}/evaluation",
            "workers.max=0",
        )
        _run(
            "restore",
            f"source={ARCHIVE}",
            f"target={RESTORED}",
            f"generator={TRAINING}/generator.safetensors",
            "workers.max=2",
            expected=SOME_INPUTS_FAILED,
        )
        _run("status", RESTORED)
        _run("verify", RESTORED)
        picture = write_before_after(folder / PICTURE, ARCHIVE, RESTORED)
    say(f"\nbefore and after: {picture.resolve()}\ndone in {time.monotonic() - started:.0f} s")
    return DONE


def _train(adversarial_steps: int) -> None:
    _run(
        "train",
        f"archive={ARCHIVE}/training",
        f"validation={ARCHIVE}/held-out",
        f"output={TRAINING}",
        "workers.max=2",
        "stages.fidelity.steps=0",
        "stages.warmup.steps=10",
        f"stages.adversarial.steps={adversarial_steps}",
    )


def _run(*words: str, expected: int = DONE) -> None:
    """Run one command as a user would, shown before it runs."""
    say(f"\n$ ganray {shlex.join(words)}")
    # In a session of its own, so that Ctrl-C reaches it once, by us, and Ray is shut down in peace.
    process = subprocess.Popen([sys.executable, "-m", "ganray", *words], start_new_session=True)
    try:
        code = process.wait()
    except BaseException:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(SECONDS_TO_STOP)
        finally:
            process.kill()
        raise
    if code != expected:
        raise RunFailedError(f"ganray {words[0]} ended with code {code}, expected {expected}")


def _enter(store: object_store.ObjectStore) -> None:
    """Point this process and its children at the store, whatever the user's own settings are."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
        os.environ.pop(name, None)
    os.environ.update(store.environment)
    os.environ["AWS_ENDPOINT_URL_S3"] = store.endpoint_url
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1"


def _empty(folder: Path) -> None:
    """Remove an earlier demo, and nothing else."""
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file; name a folder for the demo")
    if folder.exists() and any(folder.iterdir()) and not (folder / MARKER).exists():
        raise ConfigError(f"{folder} exists and holds no demo; name an empty folder")
    if folder.exists():
        object_store.stop(folder / "store")
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    (folder / MARKER).touch()


def _upload(folder: Path, uri: str) -> int:
    source, target = open_store(str(folder)), open_store(uri)
    count = 0
    for info in source.list():
        target.write(info.key, source.read(info.key))
        count += 1
    return count


def _interrupt(signum: int, frame: FrameType | None) -> None:
    """SIGTERM ends the demo as Ctrl-C does, through the context managers."""
    raise KeyboardInterrupt
