"""All errors that a user can encounter, with their exit codes.

::

    SentiscaleError            1   the run failed
    ├── UsageError             2   a flag, a setting or a combination of them
        │   └── OutputExistsError  2   the output already exists
        ├── DataError              3   unusable input: reviews, prepared data, model directories
    ├── ClusterError           1   the Dask cluster failed; finished work is kept
        ├── RankFailed             1   a process of a parallel training run died, hung or raised
        ├── PeerFailed             1   another process failed and reports the failure
    └── Interrupted          130   stopped by SIGINT or SIGTERM, after saving

A message contains what was received, what is allowed and what to do.
"""

import difflib
from collections.abc import Iterable


class SentiscaleError(Exception):
    """Base class of all errors raised on purpose; `exit_code` is the exit status of the process."""

    exit_code = 1


class UsageError(SentiscaleError):
    """Settings or flags are invalid or cannot be combined."""

    exit_code = 2


class OutputExistsError(UsageError):
    """The output path exists; nothing was overwritten."""


class DataError(SentiscaleError):
    """Input is missing, damaged or of the wrong kind."""

    exit_code = 3


class ClusterError(SentiscaleError):
    """The Dask cluster failed permanently; the job can be resumed."""


class RankFailed(SentiscaleError):  # noqa: N818 - an event, not a mistake
    """A process of a parallel training run died, hung or raised; the message names it."""


class PeerFailed(SentiscaleError):  # noqa: N818 - the same
    """Ends this process without a message, because another process or the launcher reports the failure."""

    def __init__(self, exit_code: int = 1) -> None:
        super().__init__("this rank ended because of a failure that is reported elsewhere.")
        self.exit_code = exit_code


class Interrupted(SentiscaleError):  # noqa: N818 - the same
    """Stopped by a signal after saving."""

    exit_code = 130


LONGEST_QUOTE = 60


def quoted(value: object) -> str:
    """Escape and shorten a value of a file or a request so that a message can quote it safely."""
    try:
        text = ascii(value)
    except ValueError:  # the limit of Python on printing integers
        text = "an integer of thousands of digits"
    return text if len(text) <= LONGEST_QUOTE else f"{text[:LONGEST_QUOTE]}…"


def did_you_mean(got: str, allowed: Iterable[str]) -> str:
    """Return `" Did you mean 'x'?"`, or an empty string when nothing allowed is close to `got`."""
    close = difflib.get_close_matches(got, list(allowed), n=1, cutoff=0.6)
    return f" Did you mean '{close[0]}'?" if close else ""
