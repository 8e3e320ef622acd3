"""When a rank did what: phases as the clock recorded them, computing divided into passes and waiting."""

from collections.abc import Iterable, Sequence

from pydantic import TypeAdapter

from sentiscale.measurements import Span
from sentiscale.parallel.stage import Interval, Stage

SPANS = TypeAdapter(list[Span])


class Timeline:
    """The spans of one rank, step after step."""

    def __init__(self) -> None:
        self.spans: list[Span] = []

    def add(self, recorded: Iterable[Span], runner: Stage) -> None:
        """Add a step that has just been done."""
        for span in recorded:
            if span.phase != "compute":
                self.spans.append(span)
            elif runner.forward_ended_at is not None:
                self.spans += passes(span, runner.forward_ended_at)
            else:
                self.spans += around(span, runner.last_waits)

    def as_text(self) -> str:
        """As JSON, to be sent."""
        return SPANS.dump_json(self.spans).decode()

    @staticmethod
    def read(text: str) -> list[Span]:
        """What `as_text` wrote."""
        return SPANS.validate_json(text)


def passes(span: Span, forward_ended_at: float) -> list[Span]:
    """A span of computing, cut into forward and backward pass."""
    return [
        span.model_copy(update={"phase": "forward", "end": forward_ended_at}),
        span.model_copy(update={"phase": "backward", "begin": forward_ended_at}),
    ]


def around(span: Span, waits: Sequence[Interval]) -> list[Span]:
    """A span in which passes alternate, cut where the stage waited for the other one."""
    found, begin = [], span.begin
    for wait_begin, wait_end in waits:
        found.append(span.model_copy(update={"phase": "backward", "begin": begin, "end": wait_begin}))
        found.append(span.model_copy(update={"phase": "waiting", "begin": wait_begin, "end": wait_end}))
        begin = wait_end
    return [*found, span.model_copy(update={"phase": "backward", "begin": begin})]
