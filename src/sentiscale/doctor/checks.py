"""What one check found: ok, a warning or a problem, with its remedy; and the report of all of them."""

from collections.abc import Callable
from typing import Any, Literal

from pydantic import computed_field

from sentiscale.records import Record

Status = Literal["ok", "warning", "problem"]


class Check(Record):
    """One line of the report."""

    name: str
    """What was looked at."""
    status: Status
    """ok: as it should be. warning: works, but worse than it could. problem: does not."""
    value: Any = None
    """What was found, for programs: a number, a text or a mapping of them."""
    detail: str
    """The same for people, with units."""
    remedy: str | None = None
    """What to do about it; set unless all is well."""


class Report(Record):
    """All checks, in the order they were made."""

    checks: list[Check]
    """One entry a check."""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def status(self) -> Status:
        """The worst of all checks."""
        found = {check.status for check in self.checks}
        return "problem" if "problem" in found else "warning" if "warning" in found else "ok"


def ok(name: str, value: Any, detail: str) -> Check:
    """All is well."""
    return Check(name=name, status="ok", value=value, detail=detail)


def warning(name: str, value: Any, detail: str, remedy: str) -> Check:
    """It works, but slower or less than it could."""
    return Check(name=name, status="warning", value=value, detail=detail, remedy=remedy)


def problem(name: str, value: Any, detail: str, remedy: str) -> Check:
    """Something sentiscale needs does not work."""
    return Check(name=name, status="problem", value=value, detail=detail, remedy=remedy)


def thread_count(threads: int) -> str:
    """Say it as a person does: "one thread", "4 threads"."""
    return "one thread" if threads == 1 else f"{threads} threads"


def examine(name: str, check: Callable[[], Check]) -> Check:
    """Make one check; if it breaks down, that is what it found."""
    try:
        return check()
    except Exception as error:  # a doctor must outlive whatever is broken, and say so
        return problem(
            name, None, f"{type(error).__name__}: {error}",
            "Reinstall with `make distclean setup`; if it stays, report this line.",
        )  # fmt: skip
