"""Notice that the model directory has changed, and have the new model taken."""

import asyncio
from collections.abc import Callable
from pathlib import Path

EVERY_SECONDS = 1.0
FILES = ("config.toml", "vocab.txt", "weights.safetensors")
"""What a model's answers depend on."""

Fingerprint = tuple[tuple[int, int, int], ...]


async def watch_model(model: Path, reload: Callable[[], object]) -> None:
    """Look each second; `reload` is called once for a change that has been the same for two looks."""
    taken = before = await asyncio.to_thread(fingerprint, model)
    while True:
        await asyncio.sleep(EVERY_SECONDS)
        now = await asyncio.to_thread(fingerprint, model)
        if now and now == before and now != taken:
            taken = now
            reload()
        before = now


def fingerprint(model: Path) -> Fingerprint:
    """What tells a changed directory from the same one without reading it; empty if it is not complete."""
    try:
        stats = [(model / name).stat() for name in FILES]
    except OSError:
        return ()
    return tuple((stat.st_ino, stat.st_mtime_ns, stat.st_size) for stat in stats)
