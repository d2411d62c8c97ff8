"""A small language that picks heads by their numbers: read as a tree, never run as code."""

import ast
import difflib
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from ...models.errors import HeadscopeError
from ..study import Study

MAX_LENGTH = 1000
"""Characters of a query: far above any that a person writes, far below what strains a parser."""

_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_OVER_IMAGES: dict[str, Callable[..., Any]] = {
    "mean": np.mean,
    "median": np.median,
    "std": lambda values: np.std(values, ddof=1) if len(values) > 1 else np.nan,
    "min": np.min,
    "max": np.max,
}
DEFAULT_ABLATION = "zero"

Grid = Float[np.ndarray, "layer head"]
Truth = Bool[np.ndarray, "layer head"]


def heads_where(study: Study, query: str) -> tuple[tuple[int, int], ...]:
    """The heads that a query holds for, `(layer, head)`, by layer.

    A query compares the study's numbers per head with each other and with numbers, in the units of
    the study: `entropy < 1 and distance > 100`. There are

    - the names of the study's metrics, and `layer` and `head`;
    - importance by one ablation: `probability_drop:mean`; without the colon it is zero ablation;
    - comparisons, in chains too: `2 <= layer < 6`; `==` and `!=`;
    - `and`, `or`, `not` and parentheses;
    - `std(entropy)`, `min(…)`, `max(…)`, `median(…)` over images; a bare name is the mean.

    Images that are not done do not count. A number that is missing (NaN) makes its comparison
    false. `std` has n − 1 in the denominator.

    Raises:
        HeadscopeError: the query cannot be read, or it names what the study does not have.
    """
    holds = _Reader(study, query).read()
    n_heads = study.data["n_heads"].values
    return tuple(
        (int(layer), int(head)) for layer, head in np.argwhere(holds) if head < n_heads[layer]
    )


def query_names(study: Study) -> list[str]:
    """The names that a query on this study may use."""
    return ["layer", "head", *_metrics(study)]


class _Reader:
    def __init__(self, study: Study, query: str) -> None:
        self._query = query
        self._shape = (study.data.sizes["layer"], study.data.sizes["head"])
        self._metrics = _metrics(study)
        self._qualified: dict[str, str] = {}
        # The study's own ablations first: some have a sign in their name, such as hops>3.
        ablations = study.data["ablation"].values.tolist() if "ablation" in study.data else []
        known = sorted(ablations, key=len, reverse=True)
        names = "|".join([*map(re.escape, known), r"[A-Za-z][\w-]*"])
        self._qualified_name = re.compile(rf"\b[A-Za-z_]\w*:(?:{names})(?![\w-])")

    def read(self) -> Truth:
        if len(self._query) > MAX_LENGTH:
            raise self._error(f"it has {len(self._query)} characters, of at most {MAX_LENGTH}")
        # A colon is no Python: a qualified name is parsed under a name that nobody can type.
        text = self._qualified_name.sub(self._stand_in, self._query.strip())
        try:
            return self._truth(ast.parse(text, mode="eval").body)
        except (SyntaxError, OverflowError, RecursionError, MemoryError) as error:
            raise self._error("it is incomplete, misspelt or too deep") from error

    def _stand_in(self, match: re.Match[str]) -> str:
        stand_in = f"ˑ{len(self._qualified)}"
        self._qualified[stand_in] = match.group()
        return stand_in

    def _truth(self, node: ast.expr) -> Truth:
        if isinstance(node, ast.BoolOp):
            combine = np.logical_and if isinstance(node.op, ast.And) else np.logical_or
            return combine.reduce([self._truth(value) for value in node.values])
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            return ~self._truth(node.operand)
        if isinstance(node, ast.Compare):
            sides = [self._number(side) for side in (node.left, *node.comparators)]
            holds = np.ones(self._shape, dtype=bool)
            for op, left, right in zip(node.ops, sides, sides[1:], strict=False):
                if type(op) not in _COMPARISONS:
                    raise self._error("it compares by a word; use <, <=, >, >=, == or !=")
                there = ~(np.isnan(left) | np.isnan(right))  # NaN != NaN would be true
                holds &= _COMPARISONS[type(op)](left, right) & there
            return holds
        raise self._error(f"{self._text(node)!r} is no comparison, such as entropy < 1")

    def _number(self, node: ast.expr) -> Grid:
        sign = 1.0
        while isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
            sign, node = -sign if isinstance(node.op, ast.USub) else sign, node.operand
        if isinstance(node, ast.Constant):
            if isinstance(node.value, (int, float)) and not isinstance(node.value, bool):
                return np.full(self._shape, sign * float(node.value))
            raise self._error(f"{self._text(node)!r} is no number")
        if isinstance(node, ast.Name):
            return sign * self._over_images(node.id, "mean")
        if isinstance(node, ast.Call):
            return sign * self._call(node)
        raise self._error(f"{self._text(node)!r} is neither a number nor the name of a metric")

    def _call(self, node: ast.Call) -> Grid:
        function = node.func.id if isinstance(node.func, ast.Name) else ""
        if function not in _OVER_IMAGES:
            raise self._error(
                f"there is no {self._text(node.func)}(…); there are: {', '.join(_OVER_IMAGES)}"
            )
        if node.keywords or len(node.args) != 1 or not isinstance(node.args[0], ast.Name):
            raise self._error(f"{function}(…) takes the name of one metric")
        return self._over_images(node.args[0].id, function)

    def _over_images(self, name: str, function: str) -> Grid:
        name = self._qualified.get(name, name)
        if name in ("layer", "head"):
            axis = ("layer", "head").index(name)
            return np.indices(self._shape)[axis].astype(float)
        if name not in self._metrics:
            known = ["layer", "head", *self._metrics]
            near = difflib.get_close_matches(name, known, n=3, cutoff=0.4) or known
            raise self._error(f"the study has no {name!r}; did you mean {', '.join(near)}?", end="")
        return self._metrics[name](_OVER_IMAGES[function])

    def _text(self, node: ast.expr) -> str:
        text = ast.unparse(node)
        for stand_in, name in self._qualified.items():
            text = text.replace(stand_in, name)
        return text

    def _error(self, reason: str, *, end: str = ".") -> HeadscopeError:
        shown = self._query if len(self._query) <= 80 else self._query[:77] + "…"
        return HeadscopeError(f"The query {shown!r} cannot be used: {reason}{end}")


def _metrics(study: Study) -> Mapping[str, Callable[[Callable[..., Any]], Grid]]:
    """By name, what computes a metric's `layer head` when told how images are summed up."""
    found: dict[str, Callable[[Callable[..., Any]], Grid]] = {}
    for metric in study.head_metrics():
        name = str(metric.name)
        ablation = str(metric["ablation"].values) if "ablation" in metric.coords else None

        def over_images(function: Callable[..., Any], metric: Any = metric) -> Grid:
            if "image" not in metric.dims:  # a number of all images together
                metric = metric.expand_dims("image")
            values = metric.transpose("image", "layer", "head").values
            return _reduce(values.astype(float), function)

        if ablation is not None:
            found[f"{name}:{ablation}"] = over_images
        if ablation in (None, DEFAULT_ABLATION):
            found[name] = over_images
    return found


def _reduce(
    values: Float[np.ndarray, "image layer head"], function: Callable[..., Any]
) -> Float[np.ndarray, "layer head"]:
    """A function of the images that are there, head by head; NaN where there is none."""
    result = np.full(values.shape[1:], np.nan)
    for position in np.ndindex(result.shape):
        there = values[(slice(None), *position)]
        there = there[~np.isnan(there)]
        if len(there):
            result[position] = function(there)
    return result
