"""Where each token is: the one place that knows."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int

PATCH = "patch"
"""The kind of a token that stands for a patch; every other kind is a prefix token's."""


@dataclass(frozen=True)
class TokenLayout:
    """The tokens of one attention layer, in the order in which the model has them.

    Patches lie on a grid in row-major order; prefix tokens (class, distillation, registers) have
    no place in the image.
    """

    kinds: tuple[str, ...]
    """Kind of each token: `"class"`, `"distillation"`, `"register"` or `"patch"`."""
    grid: tuple[int, int]
    """Patches as (rows, columns)."""
    patch_px: tuple[float, float]
    """Height and width of a patch, in input pixels."""

    def __post_init__(self) -> None:
        rows, columns = self.grid
        if self.kinds.count(PATCH) != rows * columns:
            raise ValueError(
                f"a grid of {rows}×{columns} needs {rows * columns} patch tokens, "
                f"got {self.kinds.count(PATCH)}"
            )

    @property
    def n_tokens(self) -> int:
        return len(self.kinds)

    @property
    def n_patches(self) -> int:
        return self.grid[0] * self.grid[1]

    @property
    def n_prefix(self) -> int:
        return self.n_tokens - self.n_patches

    @cached_property
    def present_kinds(self) -> tuple[str, ...]:
        """The kinds that occur, in order of first appearance."""
        return tuple(dict.fromkeys(self.kinds))

    def tokens(self, kind: str) -> Int[np.ndarray, " token"]:
        """Indices of the tokens of one kind."""
        return np.flatnonzero(np.array(self.kinds) == kind)

    def labels(self) -> Iterator[str]:
        """A name for every token: `"class"`, `"register 2"`, `"patch 3, 7"` (row, column)."""
        seen: dict[str, int] = {}
        for kind in self.kinds:
            index = seen.get(kind, 0)
            seen[kind] = index + 1
            if kind == PATCH:
                yield "patch {}, {}".format(*divmod(index, self.grid[1]))
            else:
                yield kind if self.kinds.count(kind) == 1 else f"{kind} {index}"

    @cached_property
    def centres(self) -> Float[np.ndarray, "patch 2"]:
        """Row and column of each patch's centre, in input pixels."""
        cells = np.indices(self.grid).reshape(2, -1).T
        return (cells + 0.5) * np.array(self.patch_px)

    @cached_property
    def distances(self) -> Float[np.ndarray, "patch patch"]:
        """Euclidean distance between patch centres, in input pixels."""
        offset = self.centres[:, None] - self.centres[None]
        return np.sqrt((offset**2).sum(-1))

    @cached_property
    def hops(self) -> Int[np.ndarray, "patch patch"]:
        """Chebyshev distance between patches on the grid, in patches."""
        cells = np.indices(self.grid).reshape(2, -1).T
        return np.abs(cells[:, None] - cells[None]).max(-1)

    @property
    def n_hops(self) -> int:
        """Number of different hops, hop 0 (the patch itself) included."""
        return max(self.grid)
