from .load import load, sizes
from .running import running


def test_under_load_every_request_is_answered_with_its_own_picture():
    with running(queue=100) as place:
        outcome = load(place, sizes(200, 200), concurrency=32)
    assert outcome.num_dropped == outcome.num_wrong == 0
    assert outcome.statuses == {200: 200}


def test_past_the_queue_requests_are_refused_and_told_when_to_come_again():
    with running(pool=1, queue=1) as place:
        outcome = load(place, sizes(100, 200), concurrency=16)
    assert outcome.num_dropped == outcome.num_wrong == 0
    assert set(outcome.statuses) == {200, 429}
