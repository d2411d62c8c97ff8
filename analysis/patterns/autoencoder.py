"""A small convolutional autoencoder of attention maps."""

from collections.abc import Callable, Mapping, Sequence
from typing import final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

CHANNELS = (16, 32)
"""Of the two convolutions of the encoder; those of the decoder are the same backwards."""
AT_ONCE = 1024
"""Maps that are encoded or decoded together."""


@final
class Autoencoder(nn.Module):
    """From maps to a few numbers and back.

    Encoder and decoder are each a linear map plus a convolutional part:

        z = E (x − m) + f(x),  x̂ = m + D z + g(z)

    E, D and the mean m begin as the principal components of the training maps, and the last layers
    of f and g at 0, so that training begins where PCA ends and learns what is not linear.
    """

    def __init__(self, shape: tuple[int, int, int], n_values: int, n_latent: int) -> None:
        """`shape` is channels, rows and columns; `n_values` numbers follow them in a row.

        All weights are 0 until `begin` or `of_arrays` fill them.
        """
        super().__init__()
        self.shape = shape
        self.n_values = n_values
        self.n_latent = n_latent
        channels, side, _ = shape
        first, second = CHANNELS
        self._half = (side + 1) // 2
        flat = second * self._half**2
        n_entries = channels * side**2 + n_values
        # On "meta" no module draws from the global generator.
        with torch.device("meta"):
            self.mean = nn.Parameter(torch.empty(n_entries), requires_grad=False)
            self.to_latent = nn.Linear(n_entries, n_latent, bias=False)
            self.from_latent = nn.Linear(n_latent, n_entries, bias=False)
            self.encoder = nn.ModuleDict(
                {
                    "first": nn.Conv2d(channels, first, 3, padding=1),
                    "second": nn.Conv2d(first, second, 3, stride=2, padding=1),
                    "hidden": nn.Linear(flat + n_values, 64),
                    "last": nn.Linear(64, n_latent),
                }
            )
            self.decoder = nn.ModuleDict(
                {
                    "hidden": nn.Linear(n_latent, 64),
                    "spread": nn.Linear(64, flat),
                    "first": nn.Conv2d(second, first, 3, padding=1),
                    "last": nn.Conv2d(first, channels, 3, padding=1),
                    "numbers": nn.Linear(64, n_values),
                }
            )
        self.to_empty(device="cpu")
        for parameter in self.parameters():
            nn.init.zeros_(parameter)

    def begin(
        self,
        mean: Float[Tensor, " entry"],
        components: Float[Tensor, "latent entry"],
        generator: torch.Generator,
    ) -> "Autoencoder":
        """Start from principal components; the inner convolutions are drawn."""
        with torch.no_grad():
            self.mean.copy_(mean)
            self.to_latent.weight.copy_(components)
            self.from_latent.weight.copy_(components.T)
            for part, drawn in (
                (self.encoder, ("first", "second", "hidden")),
                (self.decoder, ("hidden", "spread", "first")),
            ):
                for name in drawn:
                    nn.init.kaiming_normal_(
                        part[name].get_parameter("weight"),
                        nonlinearity="relu",
                        generator=generator,
                    )
        return self

    def encode(self, maps: Float[Tensor, "map entry"]) -> Float[Tensor, "map latent"]:
        centred = maps - self.mean
        pictures, values = self._split(centred)
        part = self.encoder
        hidden = nn.functional.gelu(part["first"](pictures))
        hidden = nn.functional.gelu(part["second"](hidden)).flatten(1)
        hidden = nn.functional.gelu(part["hidden"](torch.cat([hidden, values], 1)))
        return self.to_latent(centred) + part["last"](hidden)

    def decode(self, latents: Float[Tensor, "map latent"]) -> Float[Tensor, "map entry"]:
        part, side = self.decoder, self.shape[1]
        hidden = nn.functional.gelu(part["hidden"](latents))
        spread = nn.functional.gelu(part["spread"](hidden))
        spread = spread.unflatten(1, (CHANNELS[1], self._half, self._half))
        spread = nn.functional.interpolate(spread, size=(side, side), mode="nearest")
        pictures = part["last"](nn.functional.gelu(part["first"](spread)))
        more = torch.cat([pictures.flatten(1), part["numbers"](hidden)], 1)
        return self.mean + self.from_latent(latents) + more

    def forward(self, maps: Float[Tensor, "map entry"]) -> Float[Tensor, "map entry"]:
        return self.decode(self.encode(maps))

    def latents(self, maps: Float[np.ndarray, "map entry"]) -> Float[np.ndarray, "map latent"]:
        """Maps as points."""
        return _in_parts(self.encode, maps, self.n_latent)

    def maps(self, latents: Float[np.ndarray, "map latent"]) -> Float[np.ndarray, "map entry"]:
        """Points as maps."""
        return _in_parts(self.decode, latents, len(self.mean))

    def arrays(self) -> dict[str, np.ndarray]:
        """All weights, by name."""
        return {name: tensor.numpy().copy() for name, tensor in self.state_dict().items()}

    @classmethod
    def of_arrays(
        cls, arrays: Mapping[str, np.ndarray], shape: Sequence[int], n_values: int
    ) -> "Autoencoder":
        """The autoencoder with these weights."""
        channels, rows, columns = shape
        n_latent = len(arrays["to_latent.weight"])
        made = cls((channels, rows, columns), n_values, n_latent)
        made.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
        return made.eval()

    def _split(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        n_values = self.n_values
        return maps[:, : maps.shape[1] - n_values].unflatten(1, self.shape), maps[:, -n_values:]


def _in_parts(function: Callable[[Tensor], Tensor], rows: np.ndarray, n_out: int) -> np.ndarray:
    result = np.empty((len(rows), n_out), np.float32)
    with torch.inference_mode():
        for start in range(0, len(rows), AT_ONCE):
            part = torch.from_numpy(rows[start : start + AT_ONCE].astype(np.float32))
            result[start : start + AT_ONCE] = function(part).numpy()
    return result
