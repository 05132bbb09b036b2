"""Processes that are measured: started on given cores, their CPU time and memory read, and only they ended."""
import contextlib
import ctypes
import os
import re
import resource
import signal
import socket
import subprocess
import time
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")
# Found before anything forks. PR_SET_PDEATHSIG of prctl(2) is 1.
PRCTL = getattr(ctypes.CDLL(None), "prctl", None)


def descriptors():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def dies_with_us():
    """Told to end by the kernel when this program is gone, whatever ended it: a program left behind keeps its port and its core."""
    if PRCTL:
        PRCTL(1, signal.SIGTERM)


def start(argv, cpus, log, env=None, cwd=None):
    def before():
        descriptors()
        os.setpgid(0, 0)
        dies_with_us()
    with open(log, "w") as out:
        return subprocess.Popen(["taskset", "-c", cpus, *map(str, argv)], stdout=out, stderr=subprocess.STDOUT,
                                stdin=subprocess.DEVNULL, preexec_fn=before, env={**os.environ, **(env or {})}, cwd=cwd)


def tree(pid):
    """pid and its descendants."""
    children = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
    out, todo = [], [pid]
    while todo:
        out.append(todo.pop())
        todo += children.get(out[-1], [])
    return out


def group(leader):
    """Who is in the process group of `leader`: a worker whose master was killed is nobody's child any more, but still there."""
    out = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if int((entry / "stat").read_text().rsplit(")", 1)[1].split()[2]) == leader:
                    out.append(int(entry.name))
    return out


def stop(process):
    pids = [process.pid, *({*tree(process.pid), *group(process.pid)} - {process.pid})]
    for sig in (signal.SIGTERM, signal.SIGKILL):
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, sig)
        until = time.time() + 3
        while time.time() < until:
            process.poll()
            if process.returncode is not None and not any(alive(pid) for pid in pids[1:]):
                return
            time.sleep(0.02)


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def cpu(pid):
    """(user, system) seconds of a process tree, children that have ended included."""
    user = system = 0
    for one in tree(pid):
        with contextlib.suppress(OSError):
            f = Path(f"/proc/{one}/stat").read_text().rsplit(")", 1)[1].split()
            user, system = user + int(f[11]) + int(f[13]), system + int(f[12]) + int(f[14])
    return user / TICK, system / TICK


def memory_mib(pid):
    """Pss of a process tree: what is shared is counted once."""
    kib = 0
    for one in tree(pid):
        with contextlib.suppress(OSError, TypeError):
            kib += int(re.search(r"^Pss:\s+(\d+)", Path(f"/proc/{one}/smaps_rollup").read_text(), re.M)[1])
    return kib / 1024


def must_be_free(port):
    """Something that already listens would be measured in the peer's place."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            raise RuntimeError(f"port {port} is taken: end what listens there") from None


def wait_for_port(port, process, secs=60):
    until = time.time() + secs
    while time.time() < until:
        if process.poll() is not None:
            raise RuntimeError(f"it ended with code {process.returncode} before it listened")
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        time.sleep(0.02)
    raise RuntimeError("it never listened")
