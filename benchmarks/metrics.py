"""Our measures beside PySODMetrics': time for a pair, and agreement.

    python benchmarks/metrics.py [--quick] [--json FILE] [--masks FOLDER --maps FOLDER] [--peer PYTHON]

takes pairs from folders, matched by the names of their files, or draws 400×300 ones. One process for each side holds
all pairs in memory, and they are asked in turn. What is timed is everything from two uint8 arrays to the scores that
both packages have, in the processor's time of all threads: neither side waits for anything, and what other programs do
at the same time does not count. With --json, results are written to FILE, and as Markdown beside it. The first time,
PySODMetrics is installed into `.peers/pysodmetrics`, which needs a network, unless --peer names an interpreter that has
it.

Each side has new measures for each pair, takes it in, and gives its results:

    ours                                             theirs
    MAE (of the map as it is, too)                   MAE
    PictureFMeasure: curve, adaptive                 Fmeasure: curve, adaptive (with precision and recall, too)
    SMeasure                                         Smeasure
    EMeasure: curve, adaptive                        Emeasure: curve, adaptive
    Overlap: IoU and Dice of the map cut at one half FmeasureV2: IoU and Dice of the stretched map cut at one half
    WeightedF                                        WeightedFmeasure

Ours share what they want to know of a pair, once it is a `Pair`; theirs have no such thing. FmeasureV2 could give F as
well, which takes them 3 % less time in all. Much of theirs goes into memory that is handed back to the system and asked
for anew: with MALLOC_MMAP_THRESHOLD_ and MALLOC_TRIM_THRESHOLD_ at 1000000000, glibc keeps it, and theirs take a fifth
less time.
"""

import argparse
import json
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import process_time
from typing import Any

import numpy as np
from bench import in_turns, named, new_parser, publish, ratio_row, ratio_table, table, versions
from numpy.typing import NDArray
from sides import Side, install_peer

VERSION = "1.6.2"
HERE = Path(__file__).resolve()
SCORES = (
    "MAE stretched", "maxF per picture", "meanF per picture", "adpF per picture", "Sm", "maxE", "meanE", "adpE", "Fw",
    "IoU stretched", "Dice stretched",
)  # fmt: skip
Scores = dict[str, float]
Pixels = NDArray[np.uint8]


def main() -> None:
    """Set the peer up, ask both sides in turn, print, write if asked."""
    parser = new_parser(__doc__, "40 pairs and 5 rounds instead of 200 and 9")
    parser.add_argument("--masks", type=Path, metavar="FOLDER", help="ground truths  [default: drawn]")
    parser.add_argument("--maps", type=Path, metavar="FOLDER", help="maps of the same names")
    parser.add_argument("--peer", metavar="PYTHON", help="an interpreter that has it  [default: one in .peers]")
    parser.add_argument("--answer", nargs=2, metavar=("SIDE", "FILE"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.answer:
        answer(*arguments.answer)
        return
    if (arguments.masks is None) != (arguments.maps is None):
        parser.error("--masks and --maps go together")

    python = arguments.peer or install_peer("pysodmetrics", VERSION)
    num_pairs, num_rounds = (40, 5) if arguments.quick else (200, 9)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pairs.npz"
        pairs = read_pairs(arguments.masks, arguments.maps, num_pairs) if arguments.masks else draw_pairs(num_pairs)
        np.savez(path, *(np.stack(pair) for pair in pairs))
        answering = [[one, HERE, "--answer", who, path] for one, who in ((sys.executable, "ours"), (python, "theirs"))]
        with Side(answering[0]) as ours, Side(answering[1]) as theirs:
            rounds = in_turns([lambda: ours.ask("time"), lambda: theirs.ask("time")], num_rounds)
            agreement = compare(ours.ask("scores"), theirs.ask("scores"))
            packages = {"ours": ours.ask("versions"), "theirs": theirs.ask("versions")}

    sizes = "×".join(str(round(float(np.median([pair[0].shape[axis] for pair in pairs])))) for axis in (1, 0))
    pairs_are = f"{len(pairs)} {'given' if arguments.masks else 'drawn'}, median size {sizes}"
    rows = [
        ratio_row(name, "ms", *([one[name] for one in side] for side in zip(*rounds, strict=True)))
        for name in rounds[0][0]
    ]
    differences = ([row["measure"], f"{row['largest']:.1e}", f"{row['mean']:.1e}"] for row in agreement)
    text = ratio_table(rows, "u2net", "PySODMetrics") + "\n"
    text += table(["score of a pair", "largest difference", "mean difference"], differences)
    facts = {"pairs": pairs_are, "versions": packages, "rows": rows, "agreement": agreement}
    publish(arguments, facts, text, f"pairs: {pairs_are}; {', '.join(map(named, packages.values()))}")


# ---- Results -------------------------------------------------------------------------------------------------


def compare(ours: list[Scores], theirs: list[Scores]) -> list[dict[str, Any]]:
    """By measure: the largest and the mean difference of a pair's score."""
    table = []
    for name in SCORES:
        apart = [abs(a[name] - b[name]) for a, b in zip(ours, theirs, strict=True)]
        table.append({"measure": name, "largest": max(apart), "mean": sum(apart) / len(apart)})
    return table


# ---- Pairs ---------------------------------------------------------------------------------------------------


def read_pairs(masks: Path, maps: Path, num_pairs: int) -> list[tuple[Pixels, Pixels]]:
    """The first pairs of the same name and size."""
    from PIL import Image

    pairs = []
    for path in sorted(maps.glob("*.png")):
        if (masks / path.name).exists() and len(pairs) < num_pairs:
            map_, truth = (np.array(Image.open(p).convert("L")) for p in (path, masks / path.name))
            if map_.shape == truth.shape:
                pairs.append((map_, truth))
    return pairs


def draw_pairs(num_pairs: int, size: tuple[int, int] = (400, 300)) -> list[tuple[Pixels, Pixels]]:
    """Smooth blobs, and maps of them: soft at the rim, with holes, faint other things, and nothing at all far away."""
    from PIL import Image, ImageFilter

    random = np.random.default_rng(0)
    pairs = []
    while len(pairs) < num_pairs:
        coarse = Image.fromarray(random.integers(0, 256, (5, 6), dtype=np.uint8)).resize(size, Image.Resampling.BICUBIC)
        y, x = np.mgrid[-1 : 1 : size[1] * 1j, -1 : 1 : size[0] * 1j]
        centre, spread = random.uniform(-0.3, 0.3, 2), random.uniform(0.4, 0.7)
        height = np.asarray(coarse) / 255 + 1 - ((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / spread**2
        truth = np.where(height > 0.5, 255, 0).astype(np.uint8)
        mistaken = random.normal(128, 40, (8, 8)).clip(0, 255).astype(np.uint8)
        mistakes = np.asarray(Image.fromarray(mistaken).resize(size, Image.Resampling.BICUBIC)) / 255 - 0.5
        seen = height + mistakes
        soft = Image.fromarray((255 / (1 + np.exp(-16 * (seen - 0.5)))).astype(np.uint8))
        map_ = np.array(soft.filter(ImageFilter.GaussianBlur(4)), dtype=np.int16) + random.integers(-4, 5, truth.shape)
        pairs.append((np.where(map_ < 8, 0, map_.clip(0, 255)).astype(np.uint8), truth))
    return pairs


# ---- Both sides ----------------------------------------------------------------------------------------------


def answer(side: str, path: str) -> None:
    """Runs in the process of a side: answer questions until there are no more."""
    warnings.simplefilter("ignore")  # PySODMetrics announces the end of Fmeasure
    packages = ("u2net", "numpy") if side == "ours" else ("pysodmetrics", "numpy", "scipy")
    with np.load(path) as file:
        pairs = [tuple(pair.copy() for pair in stack) for stack in file.values()]
    measure = measure_ours if side == "ours" else measure_theirs
    for question in sys.stdin:
        found: Any
        match question.strip():
            case "time":
                found = time_all(measure, pairs)
            case "scores":
                found = [measure(*pair)[0] for pair in pairs]
                if side == "ours":
                    found = [scores | overlap_stretched(*pair) for scores, pair in zip(found, pairs, strict=True)]
            case _:
                found = versions(*packages)
        print(json.dumps(found), flush=True)


def time_all(measure: Callable[[Pixels, Pixels], tuple[Scores, float]], pairs: list[Any]) -> dict[str, float]:
    """Milliseconds for a pair: of all measures, and of Fw alone."""
    whole, weighted = [], []
    for pair in pairs:
        start = process_time()
        _, seconds = measure(*pair)
        whole.append(process_time() - start)
        weighted.append(seconds)
    return {
        "all measures, mean over pairs": 1000 * sum(whole) / len(whole),
        "all measures, median pair": 1000 * median(whole),
        "Fw among them, mean over pairs": 1000 * sum(weighted) / len(weighted),
    }


def measure_ours(map_: Pixels, truth: Pixels) -> tuple[Scores, float]:
    """Our scores of one pair, and the seconds that Fw took."""
    from u2net.evaluation.metrics import MAE, EMeasure, Overlap, Pair, PictureFMeasure, SMeasure, WeightedF

    pair = Pair(map_, truth)
    scores: Scores = {}
    for kind in (MAE, PictureFMeasure, SMeasure, EMeasure, Overlap):
        one = kind()
        one.step(pair)
        scores |= one.results()
    start = process_time()
    scores |= WeightedF().step(pair)
    return scores, process_time() - start


def overlap_stretched(map_: Pixels, truth: Pixels) -> Scores:
    """Our overlap of a map that is stretched first, as PySODMetrics does; ours by itself takes the map as it is."""
    from u2net.evaluation.metrics import Overlap, Pair

    hard = np.where(Pair(map_, truth).stretched > 0.5, 255, 0).astype(np.uint8)[map_]
    return {f"{name} stretched": score for name, score in Overlap().step(Pair(hard, truth)).items()}


def measure_theirs(map_: Pixels, truth: Pixels) -> tuple[Scores, float]:
    """PySODMetrics' scores of one pair under our names, and the seconds that Fw took."""
    import py_sod_metrics as peer

    kinds = {"IoU": peer.IOUHandler, "Dice": peer.DICEHandler}
    handlers = {name: kind(with_dynamic=False, with_adaptive=False, with_binary=True) for name, kind in kinds.items()}
    found: dict[str, Any] = {}
    for one in (peer.MAE(), peer.Fmeasure(), peer.Smeasure(), peer.Emeasure(), peer.FmeasureV2(handlers)):
        one.step(map_, truth)
        found |= one.get_results()
    start = process_time()
    weighted = peer.WeightedFmeasure()
    weighted.step(map_, truth)
    seconds = process_time() - start
    scores = {"MAE stretched": found["mae"], "Sm": found["sm"], "Fw": weighted.get_results()["wfm"]}
    for name, part in (("F per picture", found["fm"]), ("E", found["em"])):
        scores |= {f"max{name}": part["curve"].max(), f"mean{name}": part["curve"].mean(), f"adp{name}": part["adp"]}
    scores |= {f"{name} stretched": found[name]["binary"] for name in kinds}
    return {name: float(value) for name, value in scores.items()}, seconds


if __name__ == "__main__":
    main()
