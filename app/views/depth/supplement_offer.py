"""The whole study as one HTML file, made in the background and offered for download."""

from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING, Any

import streamlit as st

from ...jobs import Job
from .asking import asked, result
from .subject import Subject

if TYPE_CHECKING:
    from .... import Checkpoint, Study

_NAME = "supplement"


def offer(subject: Subject) -> "Job[Any] | None":
    """A button that asks for the file, its progress, then the download; the job that runs."""
    study, checkpoint = subject.study, subject.checkpoint
    if study is None or not study.n_done:
        st.caption("The file of the whole study can be made once the study is measured.")
        return None
    key = (
        study.model_digest,
        study.data.attrs["settings"],
        study.n_done,
        None if checkpoint is None else checkpoint.identity,
    )
    job = asked(
        _NAME,
        key,
        "The study as one file",
        lambda job: _make(job, study, checkpoint),
        "Whole study as one HTML file",
        at_once=False,
    )
    if job is None:
        st.caption(
            "Atlas, head card, profiles and panels of all images in one file that works offline, "
            "for the supplement of a paper."
            + ("" if checkpoint else " There is no checkpoint here, so it will have no maps.")
        )
    made = result(job)
    if made is not None:
        size = made.size
        st.download_button(
            f"Save the file ({size / 1e6:.1f} MB)",
            lambda: Path(made.name).read_bytes(),  # holds the file, which goes with its owner
            file_name=f"{_stem(study)}.html",
            mime="text/html",
            on_click="ignore",
            key="supplement_save",
            icon=":material/download:",
        )
    return job


class _File:
    """Outside of memory, as a file may have a hundred megabytes; gone when nobody keeps it."""

    def __init__(self, content: bytes) -> None:
        self._file = NamedTemporaryFile(prefix="headscope-", suffix=".html")  # noqa: SIM115
        self._file.write(content)
        self._file.flush()
        self.name, self.size = self._file.name, len(content)


def _make(job: "Job[Any]", study: "Study", checkpoint: "Checkpoint | None") -> _File:
    from ...supplement import supplement

    return _File(supplement(study, checkpoint, progress=job.report))


def _stem(study: "Study") -> str:
    return study.path.stem if study.path is not None else study.model.replace("/", "-")
