"""Images: all of a study's, laid out by how alike the checkpoint treats them."""

from typing import TYPE_CHECKING, Any

from ... import services
from ...figures.atlas import head_metrics
from ...figures.board import images as figures
from ...jobs import Job
from ..depth.subject import Subject
from . import asked

if TYPE_CHECKING:
    from .... import Study

BRIEF = 0.2
"""Seconds that the page waits for a layout, so that what is quick comes with the first drawing."""
METHODS, OF = ("pca", "umap"), ("attention", "importance")
_PCA, _UMAP = METHODS


def part(subject: Subject) -> dict[str, Any]:
    """The layout that was asked for, and what colours it."""
    study = subject.study if subject.photograph is None else None
    if study is None or study.n_done < 3:
        return {"waiting": _why_not(subject)}
    wants = asked("images")
    method = wants["method"] if wants.get("method") in METHODS else _PCA
    of = wants["of"] if wants.get("of") in OF else OF[0]
    key = _key(study)
    laid, said, busy = _laid_out(study, key, method, of)
    if laid is None:
        told = {"method": method, "of": of}
        if said:
            return {"waiting": said, **told}
        return {"waiting": "The images are being laid out…", **told, "running": True}
    pictures, reading = _pictures(study, key)
    return {
        **laid,
        "sprite": pictures,
        "heads": _heads(study, wants),
        "busy": busy,
        "said": said,
        "running": bool(busy) or reading,
    }


def _why_not(subject: Subject) -> str:
    name = subject.name if subject.checkpoint is not None else "MODEL"
    if subject.photograph is not None or subject.study is None:
        return (
            "This page is on one picture. Open a study of several images to see them by how alike "
            f"the heads treat them: headscope analyze FOLDER --model {name} --out study.zarr, then "
            "headscope app --study study.zarr."
        )
    n = subject.study.n_done
    return (
        f"This study has {n} image{'s' * (n != 1)}; it takes 3 or more to lay them out by "
        "similarity. Analyse more images to see which ones the heads treat alike."
    )


def _key(study: "Study") -> tuple[Any, ...]:
    digests = "".join(str(digest) for digest in study.data["image_digest"].values)
    return str(study.path), study.model_digest, study.n_done, hash(digests)


def _laid_out(
    study: "Study", key: tuple[Any, ...], method: str, of: str
) -> tuple[dict[str, Any] | None, str, str]:
    """The layout, else that of PCA while the one that was asked for is made; why there is none, and
    what is under way."""
    from .... import HeadscopeError

    wanted = _start(study, key, method, of)
    try:
        if wanted.wait(BRIEF):
            return wanted.result, "", ""
    except HeadscopeError as error:
        if method == _PCA:
            return None, str(error), ""
        found, said, busy = _laid_out(study, key, _PCA, of)
        return found, f"{said} {error}".strip(), busy
    if method == _PCA:
        return None, "", ""
    found, said, _ = _laid_out(study, key, _PCA, of)
    return found, said, "UMAP is laying the images out…"


def _start(study: "Study", key: tuple[Any, ...], method: str, of: str) -> Job[Any]:
    return services.for_board(
        f"images {method}",
        (key, method, of),
        "Laying the images out",
        lambda job: _lay_out(job, study, method, of),
    )


def _lay_out(job: Job[Any], study: "Study", method: str, of: str) -> dict[str, Any]:
    from ....analysis.similarity import image_vectors, lay_out

    job.report(0)
    vectors = image_vectors(study, of)  # pyright: ignore[reportArgumentType]
    job.report(0.3)
    laid = lay_out(vectors, study.n_images, method)  # pyright: ignore[reportArgumentType]
    sentence = figures.words(
        method=method,
        explained=laid.explained,
        trustworthiness=laid.trustworthiness,
        kinds=len(vectors.kinds),
        n_heads=vectors.n_heads,
        of=of,
    )
    payload = figures.payload(study.data, study.labels, laid.points)
    return {**payload, "method": method, "of": of, "words": sentence}


def of_study(study: "Study") -> dict[str, Any]:
    """The part where there is no server: laid out by principal components of the attention."""
    from .... import HeadscopeError

    if study.n_done < 3:
        return {"waiting": _why_not(Subject(None, study))}
    try:
        laid = _lay_out(Job("", ""), study, _PCA, OF[0])
    except HeadscopeError as error:
        return {"waiting": str(error)}
    pictures = None
    if study.n_images <= figures.PICTURES:
        pictures = figures.sprite(study.n_images, lambda i: study.data["pixels"][i].values)
    return {**laid, "sprite": pictures, "heads": None, "busy": "", "said": ""}


def _pictures(study: "Study", key: tuple[Any, ...]) -> tuple[Any, bool]:
    """Thumbnails of all images, None where they are too many; whether they are being made."""
    if study.n_images > figures.PICTURES:
        return None, False

    def work(job: Job[Any]) -> Any:
        def read(index: int) -> Any:
            job.report(index / study.n_images)
            return study.data["pixels"][index].values

        return figures.sprite(study.n_images, read)

    job = services.for_board("images pictures", key, "Reading the pictures", work)
    if not job.wait(BRIEF):
        return None, True
    return None if job.stopped or job.future.exception() is not None else job.result, False


def _heads(study: "Study", wants: dict[str, Any]) -> dict[str, Any] | None:
    """The number that colours images by the chosen head, for every head; None: not asked for."""
    key = wants.get("metric")
    if not isinstance(key, str):
        return None
    metrics = head_metrics(study.head_metrics())
    metric = next((each for each in metrics if each.key == key), None)
    if metric is None or len(metric.values) != study.n_images:
        return {"metric": key, "values": None}
    n_heads = [int(n) for n in study.data["n_heads"].values]
    return {"metric": key, "values": figures.of_heads(metric.values, n_heads)}
