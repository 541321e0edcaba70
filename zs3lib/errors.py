"""One clear line instead of a traceback, for every mistake a user can mend."""


class ZS3Error(Exception):
    """What is wrong, where, and what to do about it, in one line.

    Raised for input the user can change: a missing file, an unknown class, a setting out of range.
    IPython (and so JupyterLab and papermill) shows such an error as its one line, without the
    stack.
    """

    def _render_traceback_(self) -> list[str]:
        return [f"ZS3Error: {self}"]
