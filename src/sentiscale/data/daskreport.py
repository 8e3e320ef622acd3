"""Dask's own performance report: begun with the work, drawn beside what the client does at its end."""

import gc
import html
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any


class DaskReport:
    """Writes `path` with task stream, profiles and bandwidth of what ran between `begin` and `finish`."""

    def __init__(self, path: Path, say: Callable[[str], None]) -> None:
        self.path = path
        self.say = say
        self._report: Any = None
        self._loading: Thread | None = None
        self._drawing: Thread | None = None

    def begin(self, client: Any, *, load: bool) -> None:
        """Have the scheduler note what happens from now on; `load`: it is in this process, so get ready."""
        import distributed

        kinds: Any = distributed
        self._report = kinds.performance_report(filename=str(self.path), mode="inline")
        client.sync(self._report.__aenter__)
        if load:
            self._loading = Thread(target=_load_drawing_code, name="load-bokeh", daemon=True)
            self._loading.start()

    def finish_soon(self, client: Any) -> None:
        """Draw on another thread; `finish` waits for it."""
        if self._drawing is None:
            self._drawing = Thread(target=self._draw, args=(client,), name="draw-report")
            self._drawing.start()

    def finish(self, client: Any) -> None:
        """Draw the report now, or wait until it is drawn."""
        self.finish_soon(client)
        assert self._drawing is not None
        self._drawing.join()

    def _draw(self, client: Any) -> None:
        if self._loading is not None:
            self._loading.join()
        command = html.escape(" ".join(sys.argv))
        try:
            with _collection_paused():
                client.sync(self._report.__aexit__, None, None, None, code=command)
        except Exception as error:  # the data are whole without it; a cluster's scheduler may lack Bokeh
            self.say(f"Dask's report could not be drawn: {error}")
            self.path.write_text(f"<p>Dask's report could not be drawn: {html.escape(str(error))}</p>\n")


def _load_drawing_code() -> None:
    """Import Bokeh, a third of a second, while the workers are busy outside the interpreter."""
    try:
        with _collection_paused():
            import bokeh.plotting  # noqa: F401
            import distributed.dashboard.components.scheduler  # noqa: F401
    except ImportError:
        pass  # told when the report is drawn


@contextmanager
def _collection_paused() -> Iterator[None]:
    """Let no garbage be looked for while a library makes many objects that stay: a third of its time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
