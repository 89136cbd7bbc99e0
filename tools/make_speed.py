"""Write the row of README.md that tells of speed, from the times that benchmarks/cutout.py has kept."""

import json
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
START = "| the speed |"


def main() -> None:
    """Replace the row."""
    kept = json.loads((ROOT / "benchmarks/results/cutout.json").read_text(encoding="utf-8"))
    rows = {row["name"]: row for row in kept["rows"]}
    command, exact, fastest = (
        rows[name] for name in ("command, 12 MP, alike", "warm call, 12 MP, openvino", "warm call, 12 MP, fastest")
    )
    told = (
        f"{START} a 12-megapixel JPEG becomes a PNG in {command['ours']:.1f} s by the command, where rembg takes"
        f" {command['theirs']:.1f} s with the same weights in fp32; called again in one process, in"
        f" {exact['ours']:.2f} s where rembg takes {exact['theirs']:.1f} s, and {fastest['ours']:.2f} s in integers"
        f" ([two cores](benchmarks/results/cutout.md), [how](docs/speed.md)) |"
    )
    readme = ROOT / "README.md"
    lines = readme.read_text(encoding="utf-8").splitlines()
    (at,) = (number for number, line in enumerate(lines) if line.startswith(START))
    lines[at] = told
    readme.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
