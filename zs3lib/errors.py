"""One clear line instead of a traceback, for every mistake a user can mend."""


class ZS3Error(Exception):
    """What is wrong, where, and what to do about it, in one line: of input the user can change."""

    def _render_traceback_(self) -> list[str]:
        """What IPython, and so JupyterLab and papermill, shows in place of the stack."""
        return [f"ZS3Error: {self}"]


def one_line(error: Exception) -> str:
    """What an error says, in one line that is not too long."""
    return " ".join(str(error).split())[:300]
