"""Everything the library raises on purpose: one line each, fit to be shown to a user.

Each class also derives from the built-in exception that callers would expect, so `except ValueError` and
`except OSError` keep working. Messages about pictures name no path, for they reach a service's clients.
"""

import json


def printable(text: object, *, as_json: bool = False) -> str:
    """A text fit for a terminal or a log: what would move a cursor, break a line or turn its direction is spelled out.

    Names of files, members of archives, and cards of models come from strangers. With `as_json` a text of JSON stays
    that.
    """
    spelled = (lambda c: json.dumps(c)[1:-1]) if as_json else (lambda c: c.encode("unicode_escape").decode())
    return "".join(c if c.isprintable() else spelled(c) for c in str(text))


def reason(error: Exception) -> str:
    """One printable line for an error, without the path that an OSError carries."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return printable(" ".join(text.split())) or type(error).__name__


class U2NetError(Exception):
    """Base of every error raised on purpose by this package."""


class InvalidImage(U2NetError, ValueError):
    """The input is not a picture, is broken, or is of a kind that is refused."""


class UnsupportedFormat(InvalidImage):
    """The content is not one of the accepted picture formats, whatever its name says."""


class ImageTooLarge(InvalidImage):
    """The file, a side, or the number of pixels exceeds the limit; nothing was decoded."""


class InvalidFilm(U2NetError, ValueError):
    """Not a film that can be read whole: no film, damaged, cut off, or without pictures."""


class NoSubject(U2NetError, ValueError):
    """The network is all but sure that a picture shows no subject; `confidence` is the probability that it does."""

    def __init__(self, confidence: float) -> None:
        self.confidence = confidence
        super().__init__(f"no subject found (confidence {confidence:.2f})")


class InvalidDataset(U2NetError, ValueError):
    """A folder or archive does not hold pictures with masks, or some of them cannot be used."""


class BadPictures(InvalidDataset):
    """Some pictures of a data set could not be used; `failures` has the name and reason of each."""

    def __init__(self, failures: list[tuple[str, str]]) -> None:
        self.failures = failures
        named = "; ".join(f"{name} {reason}" for name, reason in failures[:5])
        more = f"; and {len(failures) - 5} more" if len(failures) > 5 else ""
        super().__init__(f"{len(failures)} pictures cannot be used: {named}{more}")


class NotEnoughRoom(U2NetError, MemoryError):
    """Pictures do not fit the memory, disk or device that they were to be kept in."""


class InvalidModel(U2NetError, ValueError):
    """A model file is damaged, unsafe, or does not fit the network or its Transform."""


class InvalidSetting(U2NetError, ValueError):
    """A variable of the environment has a value that makes no sense."""


class UnusableRuntime(U2NetError, ValueError):
    """A runtime or a precision cannot be used: not on this machine, not for this file, or not together."""


class SessionClosed(U2NetError, RuntimeError):
    """A picture was given to a session after its end."""


class NotPicklable(U2NetError, TypeError):
    """A session cannot go to another process: it was not opened from a file, or with what stays in its process."""


class UnknownModel(U2NetError, ValueError):
    """No model of that name, and no such file."""


class ConfigMismatch(U2NetError, ValueError):
    """A run cannot go on as configured; `differences` has a line for each field that would make it another run."""

    def __init__(self, run: str, differences: list[str]) -> None:
        self.differences = differences
        super().__init__(f"{run} was started with another configuration: {'; '.join(differences)}")


class FolderInUse(U2NetError, RuntimeError):
    """Another run writes to the same folder."""


class WorkersDied(U2NetError, RuntimeError):
    """Processes ended by themselves before they were ready for a picture, and none is left."""


class ClusterFailed(U2NetError, RuntimeError):
    """A cluster's engine gave up, or was lost; what was written before is whole."""


class TrainingDiverged(U2NetError, ArithmeticError):
    """The loss or its gradient is not finite; the last checkpoint is from before."""


class TrainingInterrupted(U2NetError):
    """A signal, `signum`, ended the run at a step's end, with a checkpoint, or while its data was being opened."""

    def __init__(self, signum: int, step: int | None = None) -> None:
        self.signum = signum
        if step is None:
            super().__init__("interrupted while the data was opened; the same command begins that again")
        else:
            super().__init__(f"interrupted after step {step}; the same command goes on from there")


class DownloadError(U2NetError, OSError):
    """A model could not be fetched or did not match its checksum; nothing was changed on disk."""


class MissingExtra(U2NetError, ImportError):
    """An optional dependency is needed; the message names the extra to install."""
