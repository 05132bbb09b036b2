"""Clients that only stand: each asks once, then says nothing. Run as a program it holds them until its input closes."""
import resource
import socket
import subprocess
import sys
from pathlib import Path


def start(cpus, port, count):
    """The process that holds them, once they all stand."""
    process = subprocess.Popen(["taskset", "-c", cpus, sys.executable, str(Path(__file__)), str(port), str(count)],
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    line = process.stdout.readline()
    if not line.startswith("standing"):
        raise RuntimeError(f"{count} idle clients could not connect")
    return process


def stand(port, count):
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    held = []
    for _ in range(count):
        client = socket.create_connection(("127.0.0.1", port), timeout=10)
        client.sendall(b"GET /small HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        answer = b""
        while b"\r\n\r\n" not in answer or len(answer) < 1024:
            part = client.recv(65536)
            if not part:
                raise SystemExit("closed early")
            answer += part
        held.append(client)
    print("standing", len(held), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    stand(int(sys.argv[1]), int(sys.argv[2]))
