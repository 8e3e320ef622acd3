"""What is no character: halves of surrogate pairs, which escapes in JSON put into strings."""


def whole(text: str) -> str:
    """The text with `?` in place of halves of surrogate pairs, so that UTF-8 can hold it."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
