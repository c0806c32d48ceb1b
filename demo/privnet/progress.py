"""What the person watching sees: one line a step, and a live line where there is a terminal."""

import sys
import time


class Progress:
    """Prints steps with the time since the start."""

    PLAIN_INTERVAL = 5.0  # seconds between two lines about the same step when there is no terminal

    def __init__(self, stream=None):
        self._stream = stream or sys.stdout
        self._live = self._stream.isatty()
        self._start = time.monotonic()
        self._last = 0.0
        self._pending = False

    def elapsed(self) -> float:
        return time.monotonic() - self._start

    def step(self, text: str) -> None:
        """Something began or was achieved."""
        self._clear()
        self._write(f"[{self.elapsed():6.1f} s] {text}\n")
        self._last = time.monotonic()

    def update(self, text: str) -> None:
        """How far the present step is; called as often as convenient."""
        now = time.monotonic()
        if self._live:
            if now - self._last >= 0.2:
                self._write(f"\r\x1b[K[{self.elapsed():6.1f} s]   {text}")
                self._pending, self._last = True, now
        elif now - self._last >= self.PLAIN_INTERVAL:
            self._write(f"[{self.elapsed():6.1f} s]   {text}\n")
            self._last = now

    def text(self, text: str = "") -> None:
        """Lines without a time: tables, verdicts."""
        self._clear()
        self._write(text + "\n")

    def _clear(self) -> None:
        if self._pending:
            self._write("\r\x1b[K")
            self._pending = False

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except (BrokenPipeError, ValueError):
            # Nobody reads any more; the run and above all its cleaning up go on.
            self._stream = open("/dev/null", "w", encoding="utf-8")
            self._live = False
