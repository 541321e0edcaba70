"""zs3lib: zero-shot semantic segmentation by recursive training (ZS3Net and ZS-MMD)."""

from .classes import split
from .deeplab import DeepLabV3Plus
from .errors import ZS3Error
from .generator import Generator
from .losses import mmd, zs_mmd
from .metrics import scores
from .run import Run, load_heads
from .settings import Settings

__all__ = ["DeepLabV3Plus", "Generator", "Run", "Settings", "ZS3Error", "load_heads", "mmd", "scores", "split", "zs_mmd"]
