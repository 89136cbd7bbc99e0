"""Write the row of README.md about speed, from the times in cutout.json and cutout_avx2.json of benchmarks/results."""

import json
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
START = "| speed |"


def main() -> None:
    """Replace the row."""
    ours, theirs = times("cutout")
    older = times("cutout_avx2")
    row = (
        f"{START} a 12-megapixel JPEG becomes a PNG in {ours:.1f} s, with rembg in {theirs:.1f} s, on two cores;"
        f" on older ones {older[0]:.1f} and {older[1]:.1f} | [speed](docs/speed.md) |"
    )
    readme = ROOT / "README.md"
    lines = readme.read_text(encoding="utf-8").splitlines()
    (at,) = (number for number, line in enumerate(lines) if line.startswith(START))
    lines[at] = row
    readme.write_text("\n".join(lines) + "\n", encoding="utf-8")


def times(name: str) -> tuple[float, float]:
    """Seconds that both sides' commands take."""
    kept = json.loads((ROOT / f"benchmarks/results/{name}.json").read_text(encoding="utf-8"))
    row = next(row for row in kept["rows"] if row["name"] == "command, 12 MP, default")
    return row["ours"], row["theirs"]


if __name__ == "__main__":
    main()
