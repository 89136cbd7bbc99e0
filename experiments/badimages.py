"""Odd, broken and hostile pictures through the Python API and the command line: what became of each.

    python experiments/badimages.py FOLDER [--json FILE]

FOLDER holds sub-folders of files, one a category. Both ways must give a picture or one line of error for every file:
anything else is counted as a fault, and the exit code is 1.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

API = """
import json, sys, time
from pathlib import Path
import u2net
from u2net.errors import InvalidImage

def memory(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024

session = u2net.new_session()
demo = Path(sys.argv[1]).read_bytes()
u2net.remove(demo, session=session)
Path("/proc/self/clear_refs").write_text("5")  # start the peak anew
u2net.remove(demo, session=session)
baseline = memory("VmHWM")  # network included
for path in sys.stdin.read().splitlines():
    Path("/proc/self/clear_refs").write_text("5")
    start = time.perf_counter()
    try:
        result = u2net.remove(Path(path).read_bytes(), session=session)
        outcome = "picture" if result.startswith(b"\\x89PNG") else "fault"
    except InvalidImage as error:
        outcome = type(error).__name__ if str(error) and "\\n" not in str(error) else "fault"
    except Exception as error:
        outcome = "fault"
    seconds = time.perf_counter() - start
    print(json.dumps([outcome, seconds, memory("VmHWM") - baseline]), flush=True)
"""


def through_api(paths: list[Path]) -> list[tuple[str, float, float]]:
    """Outcome, seconds and MiB over the demo photograph of each file, all in one process."""
    command = [sys.executable, "-c", API, "docs/images/coffee.jpg"]
    result = subprocess.run(command, input="\n".join(map(str, paths)), capture_output=True, text=True)
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    return rows + [("fault", 0.0, 0.0)] * (len(paths) - len(rows))  # the process died


def through_command(path: Path, output: Path) -> tuple[str, float, float]:
    """Outcome, seconds and peak MiB of one process."""
    start = time.perf_counter()
    with tempfile.TemporaryFile() as told, tempfile.TemporaryFile() as complaints:
        command = [sys.executable, "-m", "u2net", "remove", str(path), str(output)]
        child = subprocess.Popen(command, stdout=told, stderr=complaints)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - start
        complaints.seek(0)
        num_lines = complaints.read().count(b"\n")
    written = output.exists()
    output.unlink(missing_ok=True)
    expected = {(0, 0, True): "exit 0, a picture", (1, 1, False): "exit 1, one line"}
    return expected.get((child.returncode, num_lines, written), "fault"), seconds, usage.ru_maxrss / 1024


def main() -> None:
    """Print the table and the extremes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    paths = sorted(path for path in arguments.folder.glob("*/*") if path.is_file())
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder, "out.png")
        empty = through_command(Path("docs/images/coffee.jpg"), output)
        rows = {"api": through_api(paths), "command": [through_command(path, output) for path in paths]}
    kinds = {way: list(Counter(row[0] for row in rows[way])) for way in rows}
    columns = [
        (way, kind) for way in rows for kind in sorted(set(kinds[way]) | {"fault"}, key=lambda k: (k == "fault", k))
    ]
    print("| category | files | " + " | ".join(f"{way}: {kind}" for way, kind in columns) + " |")
    print("|---" * (2 + len(columns)) + "|")
    table = []
    for category in [*dict.fromkeys(path.parent.name for path in paths), "all"]:
        chosen = [i for i, path in enumerate(paths) if category in ("all", path.parent.name)]
        counts = [sum(rows[way][i][0] == kind for i in chosen) for way, kind in columns]
        table.append([category, len(chosen), *counts])
        print("| " + " | ".join(str(cell or "") for cell in table[-1]) + " |")
    slowest = max(range(len(paths)), key=lambda i: rows["api"][i][1])
    largest = max(range(len(paths)), key=lambda i: rows["api"][i][2])
    print(f"\nAPI: slowest {rows['api'][slowest][1]:.2f} s ({paths[slowest].name}), network included;")
    print(f"peak {rows['api'][largest][2]:.0f} MiB over the demo photograph's ({paths[largest].name}).")
    peak = max(row[2] for row in rows["command"])
    print(f"Command: slowest {max(row[1] for row in rows['command']):.2f} s, start included; ", end="")
    print(f"peak {peak:.0f} MiB (demo photograph: {empty[2]:.0f} MiB).")
    if arguments.json:
        arguments.json.write_text(json.dumps({"columns": columns, "table": table}, indent=1) + "\n")
    sys.exit(any(row[0] == "fault" for way in rows for row in rows[way]))


if __name__ == "__main__":
    main()
