"""What many pictures cost on paper, from what few were measured to cost: arithmetic alone."""

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
