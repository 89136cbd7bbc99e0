"""What `scale.py` found, as tables of Markdown."""

from typing import Any

from scale_model import CORES

Row = dict[str, Any]


def to_markdown(result: Row) -> str:
    """All tables, and where they come from."""
    versions = ", ".join(" ".join(item) for item in result["versions"].items())
    columns = {
        "side": "",
        "rounds": "rounds",
        "pictures": "pictures",
        "start_s": "start, s",
        "per_s": "pictures per second",
        "cpu_s": "core-seconds of a picture",
        "core_usage": "cores in use",
        "core_usage_with_start": "with the start",
        "own_cpu_s": "of these besides the workers",
        "worker_mib": "MiB of a worker, at most",
        "to one process, one thread": "times one process of one thread",
        "to one process": "times one process",
        "to pool": "times the pool",
    }
    every = dict.fromkeys(columns, "")
    lines = [
        f"`{result['command']}` at {result['commit']}; {result['cpu']}; {versions}.",
        "Medians of rounds in turns [least–most].",
        "",
        *table([{columns[k]: of(k, v) for k, v in (every | row).items() if k in columns} for row in result["sides"]]),
        "",
        *table([{"bytes, in the mean": kind, **sizes} for kind, sizes in result["bytes"].items()]),
        "",
        *table([{"ms of one thread": kind, **result["steps"][kind]} for kind in result["steps"]]),
        "",
        *table(
            [{"of the folder": name, "µs of a picture": microseconds} for name, microseconds in folder_costs(result)]
        ),
        "",
        f"On paper, with the pool's core-seconds, and machines of {CORES} such cores:",
        "",
        *(line for name in ("costs", "limits", "heads", "shards") for line in (*table(result.get(name, [])), "")),
    ]
    return "\n".join(lines)


def folder_costs(result: Row) -> list[tuple[str, float]]:
    """Microseconds of a picture that its folder costs besides it."""
    found = [
        ("handed out by the pool, journal and all", result["pool"]["seconds_a_picture"]),
        ("passed by Ray, its file being there", result["ray"]["seconds_a_picture"]),
        ("passed by the pool, being done", result["known"]["seconds_a_picture"]),
    ]
    for num, row in result["journal"].items():
        found += [
            (f"journal of {int(num):,}, {verb}", row[f"seconds_to_{verb}_a_picture"]) for verb in ("write", "read")
        ]
    return [(name, 1e6 * seconds) for name, seconds in found]


def of(key: str, value: Any) -> Any:
    """A cell: a figure with its spread, or what it is."""
    if not isinstance(value, list):
        return value
    if key.startswith("core_usage"):
        return "{:.0%} [{:.0%}–{:.0%}]".format(*value)
    return "{} [{}–{}]".format(*map(short, value))


def short(value: Any) -> str:
    """A number to three digits, in whole where it has more."""
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, str):
        return value
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def table(rows: list[Row]) -> list[str]:
    """Markdown; the first column is text."""
    if not rows:
        return []
    head = list(rows[0])
    lines = [f"| {' | '.join(head)} |", "|" + "---|" + "---:|" * (len(head) - 1)]
    return lines + [f"| {' | '.join(short(row[name]) for name in head)} |" for row in rows]
