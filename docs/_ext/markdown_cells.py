"""Markdown tables from plain strings."""

from collections.abc import Sequence


def cell(text: str) -> str:
    """One line, with bars that do not end the cell and no mark-up by accident."""
    return " ".join(text.split()).replace("|", r"\|").replace("<", r"\<").replace("*", r"\*")


def code(text: str) -> str:
    """The same in a fixed-width font."""
    return f"`{' '.join(text.split())}`".replace("|", r"\|")


def table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table; cells are Markdown."""
    lines = [" | ".join(row) for row in (titles, ["---"] * len(titles), *rows)]
    return [f"| {line} |" for line in lines]
