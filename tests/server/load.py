"""Many requests at once, each with a picture of its own, and what came of each."""

import http.client
import math
import queue
import random
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from io import BytesIO

import numpy as np
from PIL import Image

from .running import Running, multipart, picture


def report(figures: str) -> None:
    """Show with `pytest -s` what was measured."""
    sys.stdout.write(f"\n{figures}\n")


@dataclass
class Outcome:
    statuses: Counter = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    """Of those that were accepted."""
    num_wrong: int = 0
    """Answers with another request's picture, refusals without Retry-After."""
    num_dropped: int = 0

    def percentile(self, part: float) -> float:
        ordered = sorted(self.seconds)
        return ordered[math.ceil(part * len(ordered)) - 1]


def sizes(num: int, largest: int, seed: int = 0) -> list[tuple[int, int]]:
    """Mixed sizes, most of them small."""
    choose = random.Random(seed)
    return [(choose.randint(8, largest), choose.randint(8, largest)) for _ in range(num)]


def load(place: Running, asked: list[tuple[int, int]], concurrency: int) -> Outcome:
    """Send pictures of these sizes, each of a colour of its own, from so many clients that keep their connections."""
    outcome, lock = Outcome(), threading.Lock()
    pending: queue.SimpleQueue[int] = queue.SimpleQueue()
    for index in range(len(asked)):
        pending.put(index)

    def client() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", place.port, timeout=300)
        while True:
            try:
                index = pending.get_nowait()
            except queue.Empty:
                break
            color = (index % 251, index // 251 % 241, 99)
            body, kind = multipart({"file": picture(asked[index], color)})
            start = time.monotonic()
            try:
                connection.request("POST", "/api/remove", body, {"Content-Type": kind})
                answer = connection.getresponse()
                content = answer.read()
            except (OSError, http.client.HTTPException):
                connection.close()
                with lock:
                    outcome.num_dropped += 1
                continue
            seconds = time.monotonic() - start
            if answer.status == 200:
                image = Image.open(BytesIO(content))
                pixels = np.asarray(image)
                is_right = image.size == asked[index] and bool((pixels[pixels[:, :, 3] > 0, :3] == color).all())
            else:
                is_right = answer.status in (429, 503) and answer.headers["Retry-After"] is not None
            with lock:
                outcome.statuses[answer.status] += 1
                outcome.num_wrong += not is_right
                if answer.status == 200:
                    outcome.seconds.append(seconds)
        connection.close()

    clients = [threading.Thread(target=client) for _ in range(concurrency)]
    for one in clients:
        one.start()
    for one in clients:
        one.join()
    return outcome
