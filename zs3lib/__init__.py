"""zs3lib: zero-shot semantic segmentation by recursive training (ZS3Net and ZS-MMD)."""

import warnings
from importlib import import_module
from importlib.metadata import entry_points
from pkgutil import resolve_name

from . import extras as extras  # registers its methods

for _own in entry_points(group="zs3lib"):  # methods and datasets of other packages (README)
    try:
        import_module(_own.module)
    except Exception as error:  # whatever another package's code may raise
        warnings.warn(f"'{_own.value}', named for zs3lib, is left out: {error!r}; mend it")

# Public name -> module. Imported on first use: reading records and tables needs no torch.
_PUBLIC = {
    "DeepLabV3Plus": "method.deeplab",
    "Generator": "method.generator",
    "Run": "runs.run",
    "Settings": "settings",
    "ZS3Error": "errors",
    "add_classes": "explore.new_classes",
    "load_heads": "runs.finished",
    "mmd": "method.losses",
    "open_run": "runs.finished",
    "scores": "method.metrics",
    "split": "classes",
    "zs_mmd": "method.losses",
}
__all__ = sorted(_PUBLIC)


def __getattr__(name: str):
    if name in _PUBLIC:
        return resolve_name(f"{__name__}.{_PUBLIC[name]}:{name}")
    raise AttributeError(f"module 'zs3lib' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
