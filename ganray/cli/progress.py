"""Progress in words: a bar in a terminal, a line now and then elsewhere."""

import sys
import time
from collections import Counter

from tqdm import tqdm

from ganray.ledger import LedgerRow
from ganray.pipelines.restore_orders import WindowDone
from ganray.report.amounts import counted

SECONDS_BETWEEN_LINES = 10.0


class Progress:
    """Inputs, megapixels per second, failures and time left of a restoration."""

    def __init__(self, num_inputs: int) -> None:
        self.num_inputs = num_inputs
        self.num_done = 0
        self.num_failed = 0
        self.pixels = 0
        self.windows: Counter[str] = Counter()
        self.window_pixels: Counter[str] = Counter()
        self.started = self.last_line = time.monotonic()
        self.terminal = sys.stderr.isatty()
        self.bar = tqdm(total=num_inputs, unit="input", disable=not self.terminal, leave=False)

    def add(self, row: LedgerRow) -> None:
        """Count one recorded row."""
        self.num_done += 1
        self.num_failed += row.state == "failed"
        # Windows of a scene were counted as they came.
        self.windows.pop(row.key, None)
        self.pixels += row.input_pixels - self.window_pixels.pop(row.key, 0)
        rate = self._rate()
        self.bar.set_postfix_str(f"{rate}, {self.num_failed} failed")
        self.bar.update()
        due = time.monotonic() - self.last_line > SECONDS_BETWEEN_LINES
        if not self.terminal and (due or self.num_done == self.num_inputs):
            self.last_line = time.monotonic()
            left = self._seconds() / self.num_done * (self.num_inputs - self.num_done)
            # Rows of unreadable headers come first and at once; they say nothing of the rest.
            known = f", {left:.0f} s left" if self.pixels else ""
            sys.stdout.write(
                f"{self.num_done} of {counted(self.num_inputs, 'input')}, {rate}, "
                f"{self.num_failed} failed{known}\n"
            )
            sys.stdout.flush()

    def add_window(self, done: WindowDone) -> None:
        """Count one restored window of a scene."""
        scene = done.scene
        pixels = scene.num_pixels // scene.num_windows
        self.pixels += pixels
        self.window_pixels[scene.item.key] += pixels
        self.windows[scene.item.key] += 1
        number = counted(scene.num_windows, "window")
        words = f"{self.windows[scene.item.key]} of {number} of {scene.item.key}"
        self.bar.set_postfix_str(f"{self._rate()}, {words}")
        if not self.terminal and time.monotonic() - self.last_line > SECONDS_BETWEEN_LINES:
            self.last_line = time.monotonic()
            sys.stdout.write(f"{words}, {self._rate()}\n")
            sys.stdout.flush()

    def _rate(self) -> str:
        return f"{self.pixels / 1e6 / self._seconds():.2f} Mpixel/s"

    def close(self) -> None:
        self.bar.close()

    def _seconds(self) -> float:
        return max(1e-3, time.monotonic() - self.started)
