"""Where a result was measured, written beside it; and what processes hold there (Linux)."""

import json
import os
import platform
import subprocess
from pathlib import Path
from typing import Any


def cpu() -> str:
    """The processor's name, and how many of its cores there are."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor() or platform.machine()
    return f"{name}, {os.cpu_count()} cores"


def commit() -> str:
    """Of this checkout."""
    asked = ["git", "describe", "--always", "--dirty"]
    return subprocess.run(asked, cwd=Path(__file__).parent, capture_output=True, text=True, check=False).stdout.strip()


def publish(result: dict[str, Any], text: str, file: Path | None) -> None:
    """Print a result's Markdown, and write it beside the JSON if a file is given."""
    print(text)
    if file:
        file.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        file.with_suffix(".md").write_text(text, encoding="utf-8")


def score_table(result: dict[str, Any], names: dict[str, str], columns: tuple[str, ...]) -> str:
    """A result's rows as Markdown, and where they come from.

    `names` are the headings of cells of text, by their keys; scores of `columns` follow.
    """
    lines = [
        f"`{result['command']}` at {result['commit']}; {result['cpu']}; {result['pictures']} pictures.",
        "",
        f"| {' | '.join((*names.values(), *columns))} |",
        "|" + "---|" * len(names) + "---:|" * len(columns),
    ]
    for row in result["rows"]:
        cells = [row[key] for key in names] + [f"{row[key]:.4f}" for key in columns]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def memory_mib(field: str, pid: int | str = "self") -> float:
    """Memory of a process: VmRSS now, VmHWM at its most."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024


def forget_peak(pid: int | str = "self") -> None:
    """Begin VmHWM anew."""
    Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")
