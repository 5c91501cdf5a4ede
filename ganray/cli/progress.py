"""Progress in words: a bar in a terminal, a line now and then elsewhere."""

import sys
import time

from tqdm import tqdm

from ganray.ledger import LedgerRow

SECONDS_BETWEEN_LINES = 10.0


class Progress:
    """Inputs, megapixels per second, failures and time left of a restoration."""

    def __init__(self, num_inputs: int) -> None:
        self.num_inputs = num_inputs
        self.num_done = 0
        self.num_failed = 0
        self.pixels = 0
        self.started = self.last_line = time.monotonic()
        self.terminal = sys.stderr.isatty()
        self.bar = tqdm(total=num_inputs, unit="input", disable=not self.terminal, leave=False)

    def add(self, row: LedgerRow) -> None:
        """Count one recorded row."""
        self.num_done += 1
        self.num_failed += row.state == "failed"
        self.pixels += row.input_pixels
        rate = f"{self.pixels / 1e6 / self._seconds():.2f} Mpixel/s"
        self.bar.set_postfix_str(f"{rate}, {self.num_failed} failed")
        self.bar.update()
        due = time.monotonic() - self.last_line > SECONDS_BETWEEN_LINES
        if not self.terminal and (due or self.num_done == self.num_inputs):
            self.last_line = time.monotonic()
            left = self._seconds() / self.num_done * (self.num_inputs - self.num_done)
            # Rows of unreadable headers come first and at once; they say nothing of the rest.
            known = f", {left:.0f} s left" if self.pixels else ""
            sys.stdout.write(
                f"{self.num_done} of {self.num_inputs} inputs, {rate}, {self.num_failed} failed"
                f"{known}\n"
            )
            sys.stdout.flush()

    def close(self) -> None:
        self.bar.close()

    def _seconds(self) -> float:
        return max(1e-3, time.monotonic() - self.started)
