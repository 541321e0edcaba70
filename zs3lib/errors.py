"""One clear line instead of a traceback, for every mistake a user can mend."""

from pkgutil import resolve_name
from typing import Any


class ZS3Error(Exception):
    """What is wrong, where, and what to do about it, in one line: of input the user can change."""

    def _render_traceback_(self) -> list[str]:
        """What IPython, and so JupyterLab and papermill, shows in place of the stack."""
        return [f"ZS3Error: {self}"]


def one_line(error: Exception) -> str:
    """What an error says, in one line that is not too long."""
    return " ".join(str(error).split())[:300]


def named(what: str, name: str) -> Any:
    """What "module:Class" names; ZS3Error, which says that it is `what`, where it cannot be had."""
    try:
        return resolve_name(name)
    except (AttributeError, ImportError, ValueError) as error:
        problem = f"{what}, '{name}', cannot be had ({one_line(error)})"
        raise ZS3Error(f"{problem}: name it 'module:Class'") from error
