"""The notebooks' figures, from arrays and frames; each function returns a matplotlib Figure."""

from .base import mark as mark
from .base import method_colours as method_colours
from .base import method_title as method_title
from .base import save as save
from .dataset import class_frequencies as class_frequencies
from .dataset import object_pixels as object_pixels
from .dataset import similarity_clusters as similarity_clusters
from .diagnose import confidence_histograms as confidence_histograms
from .diagnose import confusion_heatmaps as confusion_heatmaps
from .diagnose import projections as projections
from .method import Cloud as Cloud
from .method import Panel as Panel
from .method import plane as plane
from .pictures import qualitative as qualitative
from .pictures import show_samples as show_samples
from .scores import hiou_over_k as hiou_over_k
from .scores import loss_curves as loss_curves
from .scores import operating_curves as operating_curves
from .scores import per_class_iou as per_class_iou
