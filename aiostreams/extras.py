"""Optional libraries: imported when needed, with an error that names the extra."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["require"]


def require(module: str, *, extra: str, what: str) -> ModuleType:
    """Import ``module``, which the package's ``extra`` installs.

    Args:
        module: its dotted name.
        extra: the extra of this package that brings it.
        what: who needs it, for the message.

    Raises:
        ImportError: it is not installed; the message names the extra.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"{what} needs {module}: pip install 'aiostreams[{extra}]'",
            name=module,
        ) from error
