"""Every error a user can meet, with its exit code.

::

    SentiscaleError            1   the run failed
    ├── UsageError             2   a flag, a setting or a combination of them
    │   └── OutputExistsError  2   the output is already there
    ├── DataError              3   input that cannot be used: reviews, prepared data, model directories
    ├── ClusterError           1   the Dask cluster failed; what was done is kept
    ├── RankFailed             1   a process of a parallel training died, hung or raised
    ├── PeerFailed             1   the same, in a process that has nothing to add: another one tells
    └── Interrupted          130   stopped by SIGINT or SIGTERM, after saving

A message says what was got, what is allowed and what to do.
"""

import difflib
from collections.abc import Iterable


class SentiscaleError(Exception):
    """Base of all errors raised on purpose; `exit_code` is the process's exit status."""

    exit_code = 1


class UsageError(SentiscaleError):
    """Settings or flags that cannot work."""

    exit_code = 2


class OutputExistsError(UsageError):
    """The output path exists; nothing was overwritten."""


class DataError(SentiscaleError):
    """Input that is missing, damaged or of another kind than expected."""

    exit_code = 3


class ClusterError(SentiscaleError):
    """The Dask cluster failed for good; what was done is kept, so that the job can be resumed."""


class RankFailed(SentiscaleError):  # noqa: N818 - it says what happened
    """One process of a parallel training died, fell silent or raised; the message names it."""


class PeerFailed(SentiscaleError):  # noqa: N818 - it says what happened
    """This process ends quietly because another one, or the launcher, tells what went wrong."""

    def __init__(self, exit_code: int = 1) -> None:
        super().__init__("this rank ended because of a failure that is reported elsewhere.")
        self.exit_code = exit_code


class Interrupted(SentiscaleError):  # noqa: N818 - not a fault of anybody
    """Stopped by a signal after everything worth keeping was saved."""

    exit_code = 130


def did_you_mean(got: str, allowed: Iterable[str]) -> str:
    """Return `" Did you mean 'x'?"`, or an empty string when nothing allowed is close to `got`."""
    close = difflib.get_close_matches(got, list(allowed), n=1, cutoff=0.6)
    return f" Did you mean '{close[0]}'?" if close else ""
