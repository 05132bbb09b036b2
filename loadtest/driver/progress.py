"""How far a run is: a bar where there is a terminal, a line now and then where there is none."""
import sys
import time


class Progress:
    def __init__(self, total):
        self.total, self.done, self.started = total, 0, time.monotonic()
        self.is_terminal = sys.stderr.isatty()
        self.last_line = 0

    def show(self, what):
        share = self.done / max(1, self.total)
        elapsed = time.monotonic() - self.started
        left = elapsed / share - elapsed if self.done else None
        when = f"{int(left) // 60}:{int(left) % 60:02} left" if left is not None else "just begun"
        if self.is_terminal:
            filled = int(share * 28)
            print(f"\r\x1b[K[{'█' * filled}{'░' * (28 - filled)}] {self.done}/{self.total}  {when:>11}  {what}", end="", file=sys.stderr,
                  flush=True)
        elif time.monotonic() - self.last_line > 15:
            self.last_line = time.monotonic()
            print(f"loadtest: {self.done} of {self.total}, {when}: {what}", file=sys.stderr, flush=True)

    def step(self, count=1):
        self.done += count

    def say(self, line):
        clear = "\r\x1b[K" if self.is_terminal else ""
        print(f"{clear}{line}", file=sys.stderr, flush=True)

    def close(self):
        if self.is_terminal:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
