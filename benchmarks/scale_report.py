"""What `scale.py` found: costs of many pictures on paper, reckoned from the costs of few; and all as Markdown."""

from typing import Any

NUMBERS = {"a million": 10**6, "a billion": 10**9}
LINKS = (1, 10, 25)  # Gbit/s
CORES = 16  # of a machine
REQUESTS = 7  # of a picture in S3: HEAD and LIST of its cut-out, HEAD and GET, and three that write
_DAY, _WEEK = 24, 168  # hours

Row = dict[str, Any]


def costs(name: str, cpu_s: float, bytes_in: float, bytes_out: float, journal: float) -> list[Row]:
    """What each of `NUMBERS` pictures of a kind costs; seconds of a core and bytes are a picture's."""
    rows = []
    for number, num in NUMBERS.items():
        core_hours = num * cpu_s / 3600
        rows.append(
            {
                "pictures": f"{number}, {name}",
                "core-hours": core_hours,
                "machines for a day": core_hours / _DAY / CORES,
                "machines for a week": core_hours / _WEEK / CORES,
                "TB in": num * bytes_in / 1e12,
                "TB out": num * bytes_out / 1e12,
                "GB of journal": num * journal / 1e9,
                "hours of a 10 Gbit/s link": num * max(bytes_in, bytes_out) * 8 / 1e10 / 3600,
                "million requests of S3": num * REQUESTS / 1e6,
            }
        )
    return rows


def limits(name: str, cpu_s: float, bytes_in: float, bytes_out: float) -> Row:
    """How much cores that are busy with pictures of a kind ask of links and disks.

    Links carry as much in either direction, so that the larger of both fills them.
    """
    larger = max(bytes_in, bytes_out)
    return {
        "pictures": name,
        "MB/s in, of a core": bytes_in / cpu_s / 1e6,
        "MB/s out, of a core": bytes_out / cpu_s / 1e6,
        **{f"cores that fill {link} Gbit/s": link * 1e9 / 8 / (larger / cpu_s) for link in LINKS},
    }


def shards(known_s: float, journal: Row) -> list[Row]:
    """What one journal of so many pictures is."""
    return [
        {
            "pictures of a folder": number,
            "journal, GB": num * journal["bytes_a_picture"] / 1e9,
            "of memory, GB": num * journal["bytes_of_memory_a_picture"] / 1e9,
            "to write it, s": num * journal["seconds_to_write_a_picture"],
            "to read it, s": num * journal["seconds_to_read_a_picture"],
            "to pass all, being done, s": num * known_s,
        }
        for number, num in NUMBERS.items()
    ]


def heads(pool_s: float, ray_s: float, seconds: dict[str, float]) -> list[Row]:
    """How many pictures can be handed out by one run, and the cores that so are kept busy.

    The pool's limit is the processor's time of the one process that hands them out; Ray's, what it was seen to do.
    """
    return [
        {"engine": engine, "pictures per second, at most": 1 / own_s}
        | {f"cores that it keeps busy, {kind}": cpu_s / own_s for kind, cpu_s in seconds.items()}
        for engine, own_s in (("pool", pool_s), ("Ray", ray_s))
    ]


# ---- Tables ----------------------------------------------------------------------------------------------------


def to_markdown(result: Row) -> str:
    """All tables."""
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
    sides = [{columns[k]: of(k, v) for k, v in (every | row).items() if k in columns} for row in result["sides"]]
    tables = [rows_table(sides)]
    if "costs" in result:
        tables += [
            rows_table([{"bytes, in the mean": kind, **sizes} for kind, sizes in result["bytes"].items()]),
            rows_table([{"ms of one thread": kind, **result["steps"][kind]} for kind in result["steps"]]),
            rows_table([{"of the folder": name, "µs of a picture": cost} for name, cost in folder_costs(result)]),
            [f"On paper, with the pool's core-seconds, and machines of {CORES} such cores:"],
            *(rows_table(result[name]) for name in ("costs", "limits", "heads", "shards")),
        ]
    return "\n".join("\n".join([*lines, ""]) for lines in tables)


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


def rows_table(rows: list[Row]) -> list[str]:
    """Markdown; the first column is text."""
    if not rows:
        return []
    head = list(rows[0])
    lines = [f"| {' | '.join(head)} |", "|" + "---|" + "---:|" * (len(head) - 1)]
    return lines + [f"| {' | '.join(short(row[name]) for name in head)} |" for row in rows]
