import hashlib
import multiprocessing
import pickle
import shutil
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import numpy as np
import pytest

from u2net import Session, Transform, new_session, remove
from u2net.errors import InvalidModel, NotPicklable, SessionClosed
from u2net.models.card import Card
from u2net.models.zoo import find


@pytest.fixture
def session(tmp_path) -> Session:
    """Around a file of its own, fed at a small size."""
    shutil.copy(find("u2netp"), tmp_path / "mine.onnx")
    small = Transform(size=(64, 48), stretch=False)
    return new_session(tmp_path / "mine.onnx", runtime="onnxruntime", precision="fp32", threads=1, transform=small)


def sent(session: Session) -> Session:
    return pickle.loads(pickle.dumps(session))


def _pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)


def test_a_session_goes_to_spawned_processes(photograph, packaged):
    expected = np.asarray(remove(photograph, session=packaged, quality="coarse", only_mask=True)).astype(int)
    cut = partial(remove, session=new_session(runtime="onnxruntime"), quality="coarse", only_mask=True)
    spawn = multiprocessing.get_context("spawn")
    with spawn.Pool(1) as pool:
        first = pool.map(cut, [photograph])[0]
    with ProcessPoolExecutor(1, mp_context=spawn) as pool:
        second = pool.submit(cut, photograph).result()
    for found in (first, second):
        assert np.abs(np.asarray(found) - expected).max() <= 1


def test_it_arrives_as_what_opened_it(session, tmp_path):
    arrived = sent(session)
    origin = arrived._origin
    assert arrived.card == session.card
    assert arrived.card.transform.size == (64, 48)
    assert (origin.path, origin.runtime) == (tmp_path / "mine.onnx", "onnxruntime")
    assert (origin.options.precision, origin.options.threads) == ("fp32", 1)
    assert origin.sha256 == hashlib.sha256((tmp_path / "mine.onnx").read_bytes()).hexdigest()
    np.testing.assert_array_equal(arrived.saliency(_pixels()), session.saliency(_pixels()))


def test_it_travels_on_from_where_it_arrived(session):
    np.testing.assert_array_equal(sent(sent(session)).mask(_pixels()), session.mask(_pixels()))


def test_what_is_chosen_here_is_not_chosen_again_there(session, monkeypatch):
    content = pickle.dumps(session)
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.setattr("u2net.inference.open.choose", None)
    assert pickle.loads(content)._origin.options.threads == 1


def test_it_is_opened_with_the_first_picture_and_once_for_all_arrivals(session, monkeypatch):
    from u2net.inference import origin
    from u2net.inference.runtimes import RUNTIMES

    opened = []
    real = RUNTIMES["onnxruntime"]

    def note(path, card, options):
        opened.append(path)
        return real.open(path, card, options)

    monkeypatch.setitem(origin.RUNTIMES, "onnxruntime", real._replace(open=note))
    arrived = [sent(session) for _ in range(3)]
    assert opened == []
    for one in arrived:
        one.mask(_pixels())
    assert len(opened) == 1


def test_one_that_was_closed_where_it_arrived_arrives_again(session):
    first = sent(session)
    first.close()
    second = sent(session)
    assert (first.is_closed, second.is_closed) == (True, False)
    assert second.mask(_pixels()).shape == (40, 50)


def test_another_file_in_its_place_is_refused_with_the_first_picture(session, tmp_path):
    arrived = sent(session)
    shutil.copy(find("u2netp_distilled"), tmp_path / "mine.onnx")
    with pytest.raises(InvalidModel, match=r"mine\.onnx is another file"):
        arrived.mask(_pixels())


def test_a_file_that_is_gone_is_told_with_the_first_picture(session, tmp_path):
    arrived = sent(session)
    (tmp_path / "mine.onnx").unlink()
    with pytest.raises(FileNotFoundError):
        arrived.mask(_pixels())


def test_a_file_that_changed_after_it_was_opened_is_not_sent(session, tmp_path):
    shutil.copy(find("u2netp_distilled"), tmp_path / "mine.onnx")
    with pytest.raises(NotPicklable, match=r"mine\.onnx has changed"):
        pickle.dumps(session)


def test_a_session_that_torch_runs_is_opened_from_its_file_too(tmp_path):
    pytest.importorskip("torch")
    from u2net.net import Stage, U2Net, save_checkpoint

    rows = (Stage(2, False, 3, 2, 4), Stage(2, True, 4, 2, 4), Stage(2, False, 8, 2, 4))
    save_checkpoint(U2Net(rows), tmp_path / "a.safetensors", Card("a"))
    session = new_session(tmp_path / "a.safetensors", transform=Transform(size=(32, 32)))
    np.testing.assert_array_equal(sent(session).mask(_pixels()), session.mask(_pixels()))


def test_a_live_network_and_options_of_the_runtime_stay_where_they_are(tmp_path):
    import onnxruntime

    for session in (
        Session(lambda batch: batch[:, :1], Card("red")),
        new_session("u2netp", sess_opts=onnxruntime.SessionOptions()),
    ):
        with pytest.raises(NotPicklable, match=r"^a session .* cannot be pickled: [^\n]+$"):
            pickle.dumps(session)


def test_a_closed_session_is_not_sent(session):
    session.close()
    with pytest.raises(SessionClosed):
        pickle.dumps(session)
