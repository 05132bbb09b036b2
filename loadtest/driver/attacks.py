"""The attacks of loadtest/attack, as rows of a report."""
import importlib.machinery
import importlib.util
import os
import tempfile
from pathlib import Path
from types import SimpleNamespace

FILE = Path(__file__).resolve().parents[1] / "attack"


def script():
    loader = importlib.machinery.SourceFileLoader("attack", str(FILE))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("attack", loader))
    loader.exec_module(module)
    return module


def names():
    return list(script().ATTACKS)


def run(binary, rounds, secs):
    attack = script()
    # Honest clients and attackers stay off the gateway's core; so do this process and its children from here on.
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {1} if len(before) > 1 else before)
    try:
        with tempfile.TemporaryDirectory() as folder:
            asked = SimpleNamespace(names=names(), rounds=rounds, secs=secs, binary=str(binary))
            rows, _ = attack.measure(asked, folder)
    finally:
        os.sched_setaffinity(0, before)
    return [attack.judge(name, rounds) for name, rounds in rows.items()]
