"""Both HTTP services beside each other: `u2net serve` and `rembg s`, with the same model, on the same pictures.

    python benchmarks/serve.py [--rounds 5] [--num 48] [--concurrency 16] [--pictures FOLDER] [--quick]
                               [--peer PYTHON] [--json FILE]

Loads them in turns, each picture size with so many requests from so many clients, and prints requests a second, the
median and 99th percentile of their time, what a request costs of the processor, and memory. With FOLDER, whose
sub-folders hold odd and broken pictures, both are asked for each of them. With --json the rows are written to FILE, and
as Markdown beside it.
"""

import argparse
import http.client
import json
import math
import os
import queue
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from io import BytesIO
from pathlib import Path

from machine import commit, cpu
from peer import install_peer
from PIL import Image

HERE = Path(__file__)
PHOTOGRAPH = HERE.parents[1] / "docs/images/coffee.jpg"
VERSION = "2.0.86"
SIZES = {"600 × 400": (600, 400), "1800 × 1200": (1800, 1200), "4000 × 3000": (4000, 3000)}


@dataclass
class Server:
    """One of them, running."""

    name: str
    pid: int
    port: int

    def mib(self, field: str) -> float:
        """Memory: VmRSS now, VmHWM at its most."""
        lines = Path(f"/proc/{self.pid}/status").read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024

    def cpu_seconds(self) -> float:
        """Of the processor, so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def ask(self, body: bytes, kind: str, connection: http.client.HTTPConnection | None = None) -> tuple[int, bytes]:
        """Status and content of an answer, 0 if there was none."""
        connection = connection or http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)
        try:
            connection.request("POST", "/api/remove", body, {"Content-Type": kind})
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException):
            connection.close()
            return 0, b""


@dataclass
class Round:
    """What one load gave."""

    per_s: float
    p50_s: float
    p99_s: float
    cpu_s: float
    """Of the processor, for a request."""


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--num", type=int, default=48)
    parser.add_argument("--concurrency", type=int, default=16)
    parser.add_argument("--pictures", type=Path)
    parser.add_argument("--quick", action="store_true", help="fewer requests")
    parser.add_argument("--peer", help="interpreter with rembg[cpu,cli]; by default one is installed under .peers")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.rounds, arguments.num, arguments.concurrency = 3, 12, 4
    peer = arguments.peer or install_peer("rembg", VERSION, "[cpu,cli]")

    rows, figures = [], {}
    with tempfile.TemporaryDirectory() as home, ours() as us, theirs(peer, Path(home)) as them:
        for server in (us, them):
            figures[f"{server.name}: MiB after the first picture"] = round(first_picture(server))
        for name, size in SIZES.items():
            body, kind = form(photograph(size))
            rounds = {us.name: [], them.name: []}
            for _ in range(arguments.rounds):
                for server in (us, them):
                    rounds[server.name].append(load(server, body, kind, arguments.num, arguments.concurrency))
            rows += compare(name, rounds[us.name], rounds[them.name])
        for server in (us, them):
            figures[f"{server.name}: MiB at most, under load"] = round(server.mib("VmHWM"))
        if arguments.pictures:
            for server in (us, them):
                figures |= odd_pictures(server, arguments.pictures)
    lines = table(rows, figures, arguments)
    print("\n".join(lines))
    if arguments.json:
        result = {
            "command": "python benchmarks/serve.py" + (" --pictures FOLDER" if arguments.pictures else ""),
            "cpu": cpu(),
            "commit": commit(),
            "versions": {name: version(name) for name in ("u2net", "onnxruntime", "pillow", "uvicorn")}
            | {"rembg": VERSION},
            "clients": arguments.concurrency,
            "requests in a round": arguments.num,
            "rows": rows,
            "figures": figures,
        }
        arguments.json.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        arguments.json.with_suffix(".md").write_text("\n".join(lines) + "\n", encoding="utf-8")


# ---- The two ---------------------------------------------------------------------------------------------------


@contextmanager
def ours() -> Iterator[Server]:
    """With its defaults, but for time: a busy machine must not make answers 504."""
    options = ["--timeout-s", "600", "--log-level", "warning"]
    with started("u2net", [sys.executable, "-m", "u2net", "serve", *options], os.environ) as server:
        yield server


@contextmanager
def theirs(python: str, home: Path) -> Iterator[Server]:
    """With its defaults, and the same model where it looks for models."""
    from u2net.zoo import resolve

    shutil.copy(resolve("u2netp"), home / "u2netp.onnx")
    command = [str(Path(python).parent / "rembg"), "s", "--no-ui", "--host", "127.0.0.1"]
    with started("rembg", command, os.environ | {"U2NET_HOME": str(home), "MODEL_CHECKSUM_DISABLED": "1"}) as server:
        yield server


@contextmanager
def started(name: str, command: list[str], environment: dict[str, str]) -> Iterator[Server]:
    """A process that answers, until the end of the block."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [*command, "--port", str(port)], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except ConnectionRefusedError:
                if process.poll() is not None:
                    raise SystemExit(f"{name} did not start") from None
                time.sleep(0.1)
        yield Server(name, process.pid, port)
    finally:
        process.kill()
        process.wait()


# ---- What is asked ---------------------------------------------------------------------------------------------


def photograph(size: tuple[int, int]) -> bytes:
    """The demo photograph at another size, as JPEG."""
    buffer = BytesIO()
    Image.open(PHOTOGRAPH).resize(size, Image.Resampling.LANCZOS).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def form(picture: bytes) -> tuple[bytes, str]:
    """A form that both understand, and its content type."""
    parts = [b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nu2netp\r\n']
    parts += [b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n', picture, b"\r\n--b--\r\n"]
    return b"".join(parts), "multipart/form-data; boundary=b"


def first_picture(server: Server) -> float:
    """MiB once a picture was answered; fails if it was not."""
    status, content = server.ask(*form(photograph((600, 400))))
    assert status == 200, f"{server.name} answered {status}: {content[:200]!r}"
    return server.mib("VmRSS")


def load(server: Server, body: bytes, kind: str, num: int, concurrency: int) -> Round:
    """So many requests from so many clients, which keep their connections; all must be answered."""
    pending: queue.SimpleQueue[int] = queue.SimpleQueue()
    for index in range(num):
        pending.put(index)
    seconds: list[float] = []

    def client() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=600)
        while True:
            try:
                pending.get_nowait()
            except queue.Empty:
                break
            start = time.perf_counter()
            status, _ = server.ask(body, kind, connection)
            assert status == 200, f"{server.name} answered {status}"
            seconds.append(time.perf_counter() - start)
        connection.close()

    clients = [threading.Thread(target=client) for _ in range(concurrency)]
    used, start = server.cpu_seconds(), time.perf_counter()
    for one in clients:
        one.start()
    for one in clients:
        one.join()
    elapsed = time.perf_counter() - start
    assert len(seconds) == num, f"{server.name} left {num - len(seconds)} unanswered"
    seconds.sort()
    p99 = seconds[math.ceil(0.99 * num) - 1]
    return Round(num / elapsed, statistics.median(seconds), p99, (server.cpu_seconds() - used) / num)


def odd_pictures(server: Server, folder: Path) -> dict[str, object]:
    """How many answers of each kind, the slowest, and the peak of memory over what it was before."""
    before = server.mib("VmRSS")
    Path(f"/proc/{server.pid}/clear_refs").write_text("5", encoding="utf-8")
    statuses: Counter[str] = Counter()
    slowest = 0.0
    for path in sorted(path for path in folder.glob("*/*") if path.is_file()):
        start = time.perf_counter()
        status, _ = server.ask(*form(path.read_bytes()))
        slowest = max(slowest, time.perf_counter() - start)
        statuses[str(status or "no answer")] += 1
    return {
        f"{server.name}: answers to {sum(statuses.values())} odd pictures": dict(sorted(statuses.items())),
        f"{server.name}: slowest of them, s": round(slowest, 1),
        f"{server.name}: MiB over what it had, at most": round(server.mib("VmHWM") - before),
    }


# ---- What came of it -------------------------------------------------------------------------------------------


def compare(name: str, ours: list[Round], theirs: list[Round]) -> list[dict[str, object]]:
    """Rows for a size of pictures. A ratio is ours to theirs for rates, theirs to ours for times: more is better."""
    kinds = {
        "requests a second": ("1/s", "per_s"),
        "median time": ("s", "p50_s"),
        "99th percentile": ("s", "p99_s"),
        "processor time of a request": ("s", "cpu_s"),
    }
    rows = []
    for what, (unit, field) in kinds.items():
        pairs = [(getattr(us, field), getattr(them, field)) for us, them in zip(ours, theirs, strict=True)]
        ratios = [us / them if unit == "1/s" else them / us for us, them in pairs]
        rows.append(
            {
                "name": f"{name}, {what}",
                "unit": unit,
                "ours": round(statistics.median(us for us, _ in pairs), 3),
                "theirs": round(statistics.median(them for _, them in pairs), 3),
                "ratio": round(statistics.median(ratios), 2),
                "ratio_min": round(min(ratios), 2),
                "ratio_max": round(max(ratios), 2),
                "rounds": len(pairs),
            }
        )
    return rows


def table(rows: list[dict[str, object]], figures: dict[str, object], arguments: argparse.Namespace) -> list[str]:
    """Markdown."""
    lines = [
        f"`u2net serve` and `rembg s` {VERSION}, with u2netp and their defaults; {arguments.concurrency} clients,",
        f"{arguments.num} requests a round, {arguments.rounds} rounds in turns, medians. {cpu()}.",
        "",
        "| JPEG of the size, PNG back | u2net | rembg | better by |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {row['name']} | {row['ours']} {row['unit']} | {row['theirs']} {row['unit']} | "
        f"{row['ratio']} [{row['ratio_min']}–{row['ratio_max']}] |"
        for row in rows
    ]
    lines += ["", "| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in figures.items())]
    return lines


if __name__ == "__main__":
    main()
