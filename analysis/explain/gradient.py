"""The plain gradient."""

from .base import Answer, Option, Question, explanation
from .slopes import KINDS, TIMES_INPUT, pixel_map, slopes


@explanation(
    long_name="Gradient",
    signed=True,
    kind=Option(
        "gradient × input with its sign, summed over channels, or the largest |gradient| among the "
        "channels, which is never negative",
        choices=KINDS,
    ),
)
def gradient(question: Question, *, kind: str = TIMES_INPUT) -> Answer:
    """What the score gains where a pixel moves a little: dS/dx by back-propagation. "times-input":
    Σ over channels of x · dS/dx, where x is the model's input, so that 0 is the mean colour that
    preprocessing takes away; positive where the pixel, as it differs from that colour, raises the
    score to first order. "magnitude": max over channels of |dS/dx| (Simonyan et al., "Deep Inside
    Convolutional Networks" 2013, section 3). The simplest of all, and noisy: nothing is smoothed.
    """
    values = pixel_map(slopes(question), question.batch, kind)
    return Answer(values, where="pixels")
