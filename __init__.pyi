"""The public API: `__init__.py` takes what is here as it is asked for."""

from .analysis.about import About, about
from .analysis.analyze import Progress, analyze
from .analysis.changes import PredictionChanges, changed_predictions
from .analysis.compare import Difference, compare
from .analysis.explain import Explanation, explain, explanations
from .analysis.explain.heads import WithoutHeads, head_shares, without_heads
from .analysis.explain.token_cut import object_mask
from .analysis.faithfulness import (
    FaithfulnessTable,
    compare_explanations,
    deletion_insertion,
    randomisation_check,
)
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
from .analysis.matching import HeadMatching, match_heads
from .analysis.metrics.values import norm_weighted
from .analysis.patterns import (
    Patterns,
    fit_patterns,
    has_patterns,
    measure_stability,
    open_patterns,
)
from .analysis.redundancy import Redundancy, redundancy
from .analysis.series import Series, series
from .analysis.sinks.find import find_sinks
from .analysis.sinks.image import image_sinks
from .analysis.sinks.removal import WithoutSinks, without_sinks
from .analysis.sinks.report import SinkReport
from .analysis.study import Study, open_study
from .analysis.trends import Trend, trend
from .analysis.what_if import WhatIf, what_if, what_if_over
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
    "About",
    "AttentionLayout",
    "AttentionMaps",
    "Budget",
    "CaptureReport",
    "Checkpoint",
    "Difference",
    "Estimate",
    "Explanation",
    "FaithfulnessTable",
    "HeadMatching",
    "HeadSet",
    "HeadStatistics",
    "HeadscopeError",
    "LayerAttention",
    "Patterns",
    "Photograph",
    "PredictionChanges",
    "Preprocessing",
    "Progress",
    "Redundancy",
    "Removal",
    "Series",
    "SinkReport",
    "Study",
    "TokenLayout",
    "TopHeads",
    "Trend",
    "WhatIf",
    "WithoutHeads",
    "WithoutSinks",
    "ablate",
    "ablations",
    "about",
    "accuracy",
    "against_all",
    "analyze",
    "attention_maps",
    "bootstrap_interval",
    "capture",
    "changed_predictions",
    "compare",
    "compare_explanations",
    "compare_heads",
    "deletion_insertion",
    "disagreement",
    "estimate_importance",
    "explain",
    "explanations",
    "find_images",
    "find_sinks",
    "find_top_heads",
    "fit_patterns",
    "greedy_curve",
    "has_patterns",
    "head_shares",
    "heads_of_layers",
    "image_sinks",
    "joint_effect",
    "known_checkpoints",
    "load",
    "match_heads",
    "measure_stability",
    "norm_weighted",
    "object_mask",
    "open_patterns",
    "open_study",
    "pairwise_synergy",
    "parse_bytes",
    "per_class",
    "random_band",
    "randomisation_check",
    "rank_agreement",
    "read_image",
    "redundancy",
    "reference",
    "removal_curve",
    "removal_curves",
    "sample_images",
    "series",
    "shapley_values",
    "t_interval",
    "top_heads",
    "top_pairs",
    "trend",
    "what_if",
    "what_if_over",
    "without_heads",
    "without_sinks",
    "wrap",
]
