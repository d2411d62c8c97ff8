"""Which picture: an image of the opened study, a sample, or an uploaded one."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import streamlit as st

from .. import selection, services
from ..linked import GALLERY
from .mirror import mirroring

if TYPE_CHECKING:
    from ... import Photograph, Study

UPLOAD = "upload:"
SUFFIXES = ["jpg", "jpeg", "png", "webp", "tif", "tiff", "bmp", "gif", "avif"]
SCENE = "scene-9"
"""A drawn scene in which many heads of the demo matter, and both ways."""
SHOWN = 60
"""Thumbnails of a study; the select box has all its images."""
LARGEST = 200_000_000
"""Bytes of one uploaded file; the browser's own limit is not enforced by the server."""


def of_study(study: "Study") -> int:
    """The chosen image of the opened study, by index."""
    names = [str(name) for name in study.data["image"].values]
    chosen = selection.current().image
    index = names.index(chosen) if chosen in names else 0
    if chosen is not None and chosen not in names:
        selection.correct([f"The study has no image {chosen!r}; this is {names[0]!r}."], image=None)
    model = study.data.attrs.get("model_digest", "")
    digests = [str(digest) for digest in study.data["image_digest"].values]
    _gallery(
        [
            {
                "key": name,
                "name": name,
                "source": services.thumbnail(
                    f"{model} {digests[i]}", lambda i=i: study.data["pixels"][i].values
                ),
            }
            for i, name in enumerate(names[:SHOWN])
        ],
        names[index],
    )
    if len(names) > 1:
        mirror = mirroring("image", names[index], lambda name: selection.change(image=name))
        with st.container(key="images_of_study"):
            st.selectbox("Image", names, label_visibility="collapsed", **mirror)
    return index


def _first(checkpoint: str, samples: list[str]) -> str:
    """What a page begins with: a demo checkpoint knows drawn scenes, others know photographs."""
    return SCENE if SCENE in samples and checkpoint.startswith("demo/") else samples[0]


@dataclass(frozen=True)
class Picture:
    """A picture and what the address calls it."""

    key: str
    photograph: "Photograph"


def of_session(checkpoint: str) -> Picture | None:
    """The chosen sample or uploaded picture, with the place to upload."""
    samples = services.samples()
    uploads: list[str] = st.session_state.setdefault("uploads", [])
    _uploader()
    chosen = selection.current().image
    picture = None
    if chosen is not None and chosen.startswith(UPLOAD):
        photograph = services.upload(chosen.removeprefix(UPLOAD))
        if photograph is None:
            sentence = "The uploaded picture is no longer on the server; upload it again."
            selection.correct([sentence], image=None)
        else:
            picture = Picture(chosen, photograph)
            if photograph.digest not in uploads:
                uploads.insert(0, photograph.digest)
    elif chosen is not None:
        photograph = services.sample(chosen)
        if photograph is None:
            selection.correct([f"There is no sample picture {chosen!r}."], image=None)
        else:
            picture = Picture(chosen, photograph)
    if picture is None and samples:
        name = _first(checkpoint, list(samples))
        photograph = services.sample(name)
        picture = Picture(name, photograph) if photograph is not None else None
    items = []
    for digest in uploads:
        kept = services.upload(digest)
        if kept is not None:
            source = services.thumbnail(digest, lambda kept=kept: kept.pixels)
            items.append({"key": UPLOAD + digest, "name": kept.name, "source": source})
    for name, sample in samples.items():
        source = services.thumbnail(f"sample {name}", lambda sample=sample: sample.read().pixels)
        items.append({"key": name, "name": sample.title, "source": source})
    _gallery(items, picture.key if picture else "")
    if picture is not None:
        name = picture.photograph.name
        title = samples[name].title if name in samples else name
        height, width = picture.photograph.pixels.shape[:2]
        notes = "".join(f", {note}" for note in picture.photograph.notes)
        st.caption(f"**{_plain(title)}** · {width} × {height} px{notes}")
    return picture


def _plain(text: str) -> str:
    """Text that Markdown leaves as it is."""
    return "".join("\\" + sign if sign in r"\`*_{}[]<>()#+!|~$:" else sign for sign in text)


def _gallery(items: list[dict[str, str]], chosen: str) -> None:
    def take() -> None:
        told = st.session_state["gallery"].get("picture")
        if isinstance(told, dict) and "key" in told:
            selection.change(image=str(told["key"]), target=None)

    GALLERY(key="gallery", data={"items": items, "chosen": chosen}, on_picture_change=take)


def _uploader() -> None:
    """The place to upload; what could not be read has a sentence there until the next upload."""
    key = f"files {st.session_state.setdefault('upload_round', 0)}"
    st.file_uploader(
        "Upload pictures",
        accept_multiple_files=True,
        type=SUFFIXES,
        key=key,
        label_visibility="collapsed",
        on_change=_take_uploads,
        args=(key,),
    )
    for sentence in st.session_state.get("upload_errors", ()):
        st.error(sentence)


def _take_uploads(key: str) -> None:
    """Keep what was uploaded and look at the last of it; the uploader is empty again after it."""
    from ... import HeadscopeError

    errors: list[str] = []
    uploads: list[str] = st.session_state["uploads"]
    for file in st.session_state[key]:
        try:
            if file.size > LARGEST:
                raise HeadscopeError(
                    f"{file.name} has {file.size:,} bytes; at most {LARGEST:,} are taken."
                )
            digest = services.keep_upload(file.getvalue(), file.name).digest
        except HeadscopeError as error:
            errors.append(str(error))
            continue
        if digest not in uploads:
            uploads.insert(0, digest)
        selection.change(image=UPLOAD + digest, target=None)
    st.session_state["upload_errors"] = errors
    st.session_state["upload_round"] += 1
