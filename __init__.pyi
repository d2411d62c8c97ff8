"""The public API: `__init__.py` takes what is here as it is asked for."""

from .analysis.analyze import Progress, analyze
from .analysis.maps import AttentionMaps, attention_maps
from .analysis.study import Study, open_study
from .models.ablation import ablate
from .models.capture import LayerAttention, capture
from .models.checkpoint import Checkpoint, Preprocessing
from .models.errors import HeadscopeError
from .models.images import Photograph, find_images, read_image
from .models.layout import TokenLayout
from .models.loading import known_checkpoints, load
from .models.report import CaptureReport
from .models.samples import sample_images

__all__ = [
    "AttentionMaps",
    "CaptureReport",
    "Checkpoint",
    "HeadscopeError",
    "LayerAttention",
    "Photograph",
    "Preprocessing",
    "Progress",
    "Study",
    "TokenLayout",
    "ablate",
    "analyze",
    "attention_maps",
    "capture",
    "find_images",
    "known_checkpoints",
    "load",
    "open_study",
    "read_image",
    "sample_images",
]
