"""Reloads under load: an open loop at half of capacity while SIGHUP comes again and again, beside the same load without."""
import os
import signal
import threading
from pathlib import Path

from .measure import Running
from .peers import PEERS
from .scenarios import SCENARIOS

EVERY_SECS = 0.25


def run(bench, secs, routes=1000):
    """Both rows of the report. Every reload changes something, so that a new version is made and installed."""
    scenario = SCENARIOS["S12b"] if routes == 1000 else SCENARIOS["S1"]
    out = {}
    with Running(bench, PEERS["ringway"], scenario, 1) as running:
        best = running.load(max(1.0, secs / 2))["good_rate"]
        for words, does in (("without", False), ("reloading", True)):
            stop, count = threading.Event(), [0]
            thread = threading.Thread(target=reloading, args=(running, stop, count)) if does else None
            if thread:
                thread.start()
            try:
                seen = running.load(secs, rate=best / 2)
            finally:
                stop.set()
                if thread:
                    thread.join()
            latency = seen["latency_us"]
            out[words] = {"reloads": count[0], "answers": seen["answers"], "failed": seen["failed"] + seen["unsent"],
                          **{name: latency[name] for name in ("p50", "p99", "p99.9", "max")}}
    return out


def reloading(running, stop, count):
    path = Path(running.work) / "ringway.toml"
    text = path.read_text()
    while not stop.wait(EVERY_SECS):
        count[0] += 1
        extra = f'\n[[route]]\nmatch = "/reload/{count[0]}"\nrespond = {{ status = 204 }}\n'
        path.write_text(text + extra)
        os.kill(running.process.pid, signal.SIGHUP)
