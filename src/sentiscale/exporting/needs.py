"""The packages of the extra `export`: found, or one sentence that says how to get them."""

from importlib import import_module
from typing import Any

from sentiscale.errors import UsageError


def optional_package(name: str) -> Any:
    """The module `name`.

    Raises: UsageError when it is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise UsageError(
            f"this needs the package {name}, which is not installed: pip install 'sentiscale[export]'."
        ) from error
