"""zs3lib: zero-shot semantic segmentation by recursive training (ZS3Net and ZS-MMD)."""

from importlib import import_module

# Public name -> module. Imported on first use: reading records and tables needs no torch.
_PUBLIC = {
    "DeepLabV3Plus": "deeplab", "Generator": "generator", "Run": "run", "Settings": "settings", "ZS3Error": "errors",
    "add_classes": "new_classes", "load_heads": "finished",
    "mmd": "losses", "scores": "metrics", "split": "classes", "zs_mmd": "losses",
}  # fmt: skip
__all__ = sorted(_PUBLIC)


def __getattr__(name: str):
    if name in _PUBLIC:
        return getattr(import_module(f".{_PUBLIC[name]}", __name__), name)
    raise AttributeError(f"module 'zs3lib' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
