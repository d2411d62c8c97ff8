"""The public API: `__init__.py` takes what is here as it is asked for."""

from .analysis.analyze import Progress, analyze
from .analysis.importance.agreement import rank_agreement
from .analysis.importance.budget import Budget, parse_bytes
from .analysis.importance.classes import accuracy, per_class
from .analysis.importance.curves import greedy_curve, random_band, removal_curve, removal_curves
from .analysis.importance.disagreement import disagreement
from .analysis.importance.estimate import Estimate, estimate_importance
from .analysis.importance.headset import (
    HeadSet,
    heads_of_layers,
    joint_effect,
    top_heads,
)
from .analysis.importance.intervals import (
    against_all,
    bootstrap_interval,
    compare_heads,
    t_interval,
    top_pairs,
)
from .analysis.importance.removal import Removal
from .analysis.importance.shapley import shapley_values
from .analysis.importance.synergy import pairwise_synergy
from .analysis.importance.top import TopHeads, find_top_heads
from .analysis.maps import AttentionMaps, attention_maps
from .analysis.study import Study, open_study
from .models.ablation import ablate
from .models.ablations import HeadStatistics, ablations, reference
from .models.capture import LayerAttention, capture
from .models.checkpoint import Checkpoint, Preprocessing
from .models.errors import HeadscopeError
from .models.images import Photograph, find_images, read_image
from .models.layout import AttentionLayout, TokenLayout
from .models.loading import known_checkpoints, load
from .models.report import CaptureReport
from .models.samples import sample_images
from .models.wrapping import wrap

__all__ = [
    "AttentionLayout",
    "AttentionMaps",
    "Budget",
    "CaptureReport",
    "Checkpoint",
    "Estimate",
    "HeadSet",
    "HeadStatistics",
    "HeadscopeError",
    "LayerAttention",
    "Photograph",
    "Preprocessing",
    "Progress",
    "Removal",
    "Study",
    "TokenLayout",
    "TopHeads",
    "ablate",
    "ablations",
    "accuracy",
    "against_all",
    "analyze",
    "attention_maps",
    "bootstrap_interval",
    "capture",
    "compare_heads",
    "disagreement",
    "estimate_importance",
    "find_images",
    "find_top_heads",
    "greedy_curve",
    "heads_of_layers",
    "joint_effect",
    "known_checkpoints",
    "load",
    "open_study",
    "pairwise_synergy",
    "parse_bytes",
    "per_class",
    "random_band",
    "rank_agreement",
    "read_image",
    "reference",
    "removal_curve",
    "removal_curves",
    "sample_images",
    "shapley_values",
    "t_interval",
    "top_heads",
    "top_pairs",
    "wrap",
]
