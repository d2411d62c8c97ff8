"""Trains an autoencoder, and measures it beside PCA on images that it has not seen."""

import time
import warnings
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int

from ...models.errors import HeadscopeError
from .autoencoder import Autoencoder
from .forms import FORMS, VALUES
from .maps import PatternMaps, Progress, silent

N_LATENT = 12
"""Numbers that a map becomes."""
LEAST_IMAGES = 5
"""Images below which none can be held out."""
LEAST_MAPS = 50
"""Maps below which there is nothing to learn."""
SECONDS = 1800.0
"""Training stops after so long, whatever it still improves: a safety that no training is to meet,
for what it leaves hangs on the machine's speed."""
MOST_EPOCHS = 20
MOST_STEPS = 2000
"""In all: with more than 12,800 maps there are fewer epochs. That is what bounds the time."""
PATIENCE = 4
"""Epochs without a better error, after which training stops."""
IMPROVEMENT = 0.002
"""Share by which an error has to fall to count as better."""
RATE = 2e-3
BATCH = 128
"""Maps of a step at most; few maps are divided into `STEPS` smaller batches."""
STEPS = 20
HELD_OUT = 0.1
"""Share of the images that end the training, and share of those that it is measured on."""


@dataclass(frozen=True, eq=False)
class Training:
    """How an autoencoder came about, and how well it does.

    Errors are squared distances between a map and its reconstruction, mean over maps. Three groups
    of images: fitted, watched (training stops when their error no longer falls) and held out (seen
    by nothing before the end). A map's group is that of its image.
    """

    fitted_error: Float[np.ndarray, " epoch"]
    """Mean over the batches of each epoch, while it learns."""
    watched_error: Float[np.ndarray, " epoch"]
    """After each epoch; the first is that of PCA, where training begins."""
    held_out_error: float
    pca_error: float
    """Of the held-out maps, by PCA of the fitted maps with as many components."""
    variance: float
    """Squared distance of the held-out maps from the mean of the fitted ones: the error of a
    reconstruction that knows nothing."""
    n_latent: int
    seed: int
    stopped_by: str
    """`"patience"`, `"epochs"` or `"time"`; only after the last the results depend on the machine
    and its load."""
    seconds: float
    watched: Int[np.ndarray, " picture"]
    """Numbers of the images in `PatternMaps.pictures`."""
    held_out: Int[np.ndarray, " picture"]

    @property
    def caution(self) -> str:
        """What is to be said of a training that the clock ended; empty for any other."""
        if self.stopped_by != "time":
            return ""
        return (
            f"Training was ended by the clock, after {self.seconds:.0f} seconds and "
            f"{len(self.fitted_error)} epochs: on a quicker machine the patterns would be others. "
            "Allow more seconds for results that can be made again."
        )

    @property
    def explained(self) -> float:
        """Share of the held-out variance that the reconstruction has."""
        return 1 - self.held_out_error / self.variance

    @property
    def explained_by_pca(self) -> float:
        return 1 - self.pca_error / self.variance


def train(
    maps: PatternMaps,
    *,
    n_latent: int = N_LATENT,
    seed: int = 0,
    epochs: int = MOST_EPOCHS,
    seconds: float = SECONDS,
    progress: Progress = silent,
) -> tuple[Autoencoder, Training]:
    """An autoencoder of the maps; the same maps, seed and number of threads give the same weights.

    Raises:
        HeadscopeError: there are too few maps or images.
    """
    pictures = maps.pictures
    n_pictures = int(pictures.max(initial=-1)) + 1
    if n_pictures < LEAST_IMAGES or len(maps) < LEAST_MAPS:
        raise HeadscopeError(
            f"There are {len(maps)} maps of {n_pictures} images, which is too few to learn "
            f"patterns from; give at least {LEAST_IMAGES} images and {LEAST_MAPS} maps."
        )
    begun = time.monotonic()
    form = FORMS[maps.form]
    fitted, watched, held_out = split(n_pictures, seed)
    values = torch.from_numpy(maps.values.astype(np.float32))
    of = [
        torch.from_numpy(np.flatnonzero(np.isin(pictures, p))) for p in (fitted, watched, held_out)
    ]
    fit, watch, test = (values[rows] for rows in of)
    n_latent = min(n_latent, *fit.shape)
    mean, components = principal_components(fit, n_latent)

    generator = torch.Generator().manual_seed(seed)
    network = Autoencoder(form.shape, len(VALUES), n_latent).begin(mean, components, generator)
    weights = [p for p in network.parameters() if p.requires_grad]
    size = int(np.clip(len(fit) // STEPS, 8, BATCH))
    optimiser = torch.optim.Adam(weights, RATE, fused=True)
    n_epochs = max(1, min(epochs, MOST_STEPS // -(-len(fit) // size)))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, n_epochs)

    fitted_errors, watched_errors = [], [_error(network, watch)]
    best, kept, since = watched_errors[0], network.arrays(), 0
    stopped_by = "epochs"
    for epoch in range(n_epochs):
        progress("Learning patterns", epoch / n_epochs)
        total, n_seen = 0.0, 0
        for rows in torch.randperm(len(fit), generator=generator).split(size):
            batch = fit[rows]
            loss = (network(batch) - batch).square().sum(1).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            total += float(loss.detach()) * len(batch)
            n_seen += len(batch)
            if time.monotonic() - begun > seconds:
                break
        schedule.step()
        fitted_errors.append(total / n_seen)
        watched_errors.append(_error(network, watch))
        if watched_errors[-1] < best * (1 - IMPROVEMENT):
            since = 0
        else:
            since += 1
        if watched_errors[-1] < best:
            best, kept = watched_errors[-1], network.arrays()
        if time.monotonic() - begun > seconds:
            stopped_by = "time"
            break
        if since >= PATIENCE:
            stopped_by = "patience"
            break
    progress("Learning patterns", 1)
    trained = Autoencoder.of_arrays(kept, form.shape, len(VALUES))
    centred = test - mean
    rest = centred - centred @ components.T @ components
    told = Training(
        fitted_error=np.array(fitted_errors),
        watched_error=np.array(watched_errors),
        held_out_error=_error(trained, test),
        pca_error=float(rest.square().sum(1).mean()),
        variance=float(centred.square().sum(1).mean()),
        n_latent=n_latent,
        seed=seed,
        stopped_by=stopped_by,
        seconds=time.monotonic() - begun,
        watched=watched,
        held_out=held_out,
    )
    if told.caution:
        warnings.warn(told.caution, stacklevel=2)
    return trained, told


def split(
    n_pictures: int, seed: int
) -> tuple[Int[np.ndarray, " fitted"], Int[np.ndarray, " watched"], Int[np.ndarray, " held_out"]]:
    """Images to fit, to watch and to hold out."""
    order = np.random.default_rng(seed).permutation(n_pictures)
    n = max(1, round(HELD_OUT * n_pictures))
    return np.sort(order[2 * n :]), np.sort(order[:n]), np.sort(order[n : 2 * n])


def principal_components(
    maps: Float[torch.Tensor, "map entry"], n: int
) -> tuple[Float[torch.Tensor, " entry"], Float[torch.Tensor, "latent entry"]]:
    """Mean and first principal components, with signs that do not hang on the machine."""
    exact = maps.double()
    mean = exact.mean(0)
    centred = exact - mean
    vectors = torch.linalg.eigh(centred.T @ centred).eigenvectors.flip(1)[:, :n].T
    largest = vectors.gather(1, vectors.abs().argmax(1, keepdim=True))
    return mean.float(), (vectors * largest.sign()).float()


def _error(network: Autoencoder, maps: torch.Tensor) -> float:
    values = maps.numpy()
    found = network.maps(network.latents(values))
    return float(np.square(found - values, dtype=np.float64).sum(1).mean())
