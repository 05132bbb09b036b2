"""The machine a report was made on, and how its cores are shared out."""
import os
import platform
import re
import subprocess
from pathlib import Path


def one_line(*argv):
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=20)
    except OSError:
        return ""
    return (done.stdout + done.stderr).strip().split("\n")[0]


def read(path):
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def describe():
    cpuinfo, meminfo = read("/proc/cpuinfo"), read("/proc/meminfo")
    found = lambda pattern, text: (re.search(pattern, text, re.M) or ["", ""])[1]
    kib = int(found(r"^MemTotal:\s+(\d+)", meminfo) or 0)
    release = found(r'^PRETTY_NAME="(.*)"', read("/etc/os-release"))
    hypervisor = "virtual machine" if re.search(r"\bhypervisor\b", cpuinfo) else "no hypervisor seen"
    return {
        "cpus": os.cpu_count(),
        "cpu_model": found(r"^model name\s*: (.*)$", cpuinfo) or platform.machine(),
        "memory_gib": round(kib / 1048576, 1),
        "kernel": platform.release(),
        "system": release,
        "virtual": hypervisor,
        "governor": read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor") or "not told",
        "clocksource": read("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
        "load_before": read("/proc/loadavg").split(" ")[0],
        "rustc": one_line("rustc", "--version"),
    }


def places(workers):
    """(cpus of the program that is measured, cpus of origin and load), as taskset wants them.

    One worker has a core of its own wherever there are two. Where there are not cores enough for both, they share all.
    """
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2 or workers >= len(cpus):
        both = ",".join(map(str, cpus))
        return both, both
    return ",".join(map(str, cpus[:workers])), ",".join(map(str, cpus[workers:]))
