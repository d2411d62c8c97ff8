"""headscope: what every attention head of a vision transformer does, and whether it matters."""

from .models.ablation import ablate
from .models.capture import CaptureReport, LayerAttention, capture
from .models.checkpoint import Checkpoint, Preprocessing
from .models.errors import HeadscopeError
from .models.images import Photograph, find_images, read_image
from .models.layout import TokenLayout
from .models.loading import known_checkpoints, load

__all__ = [
    "CaptureReport",
    "Checkpoint",
    "HeadscopeError",
    "LayerAttention",
    "Photograph",
    "Preprocessing",
    "TokenLayout",
    "ablate",
    "capture",
    "find_images",
    "known_checkpoints",
    "load",
    "read_image",
]
