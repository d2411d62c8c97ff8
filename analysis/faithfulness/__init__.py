"""Is an explanation true to the model, and does it find what is there?"""

from .agreement import MapAgreement, map_agreement, seed_stability
from .baselines import BASELINES
from .curves import Curves, deletion_insertion
from .evaluate import compare_explanations
from .explainers import Explainer, Explaining
from .infidelity import Squares, infidelity, max_sensitivity
from .localisation import energy_in_mask, iou, pointing_game
from .masks import read_mask, scene_masks
from .randomisation import Randomisation, randomisation_check, randomised
from .road import Road, impute, road
from .scores import SCORES, Score
from .table import FaithfulnessTable

__all__ = [
    "BASELINES",
    "SCORES",
    "Curves",
    "Explainer",
    "Explaining",
    "FaithfulnessTable",
    "MapAgreement",
    "Randomisation",
    "Road",
    "Score",
    "Squares",
    "compare_explanations",
    "deletion_insertion",
    "energy_in_mask",
    "impute",
    "infidelity",
    "iou",
    "map_agreement",
    "max_sensitivity",
    "pointing_game",
    "randomisation_check",
    "randomised",
    "read_mask",
    "road",
    "scene_masks",
    "seed_stability",
]
