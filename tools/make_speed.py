"""Write the row of README.md about speed, from the times in benchmarks/results/cutout.json."""

import json
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
START = "| speed |"


def main() -> None:
    """Replace the row."""
    kept = json.loads((ROOT / "benchmarks/results/cutout.json").read_text(encoding="utf-8"))
    rows = {row["name"]: row for row in kept["rows"]}
    ours, theirs = (rows["command, 12 MP, default"][side] for side in ("ours", "theirs"))
    row = (
        f"{START} a 12-megapixel JPEG becomes a PNG in {ours:.1f} s, with rembg in {theirs:.1f} s, on two cores"
        " | [speed](docs/speed.md) |"
    )
    readme = ROOT / "README.md"
    lines = readme.read_text(encoding="utf-8").splitlines()
    (at,) = (number for number, line in enumerate(lines) if line.startswith(START))
    lines[at] = row
    readme.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
