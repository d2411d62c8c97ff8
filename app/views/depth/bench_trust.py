"""Is a map true to the model? Curves with a player, a table, and the check by random weights."""

import html
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import streamlit as st

from ... import in_depth
from ...figures import faithfulness as figures
from ...figures.explanation import plain
from ...jobs import Job
from ...measuring import pictures as sizes
from ...measuring import trust
from . import bench_many
from . import subject as shared
from .bench_work import Bench, asked, doing, waits

if TYPE_CHECKING:
    from jaxtyping import Bool

    from ....analysis.faithfulness import Randomisation

COLUMNS = {
    "difference": "Insertion − deletion ↑",
    "deletion": "Deletion ↓",
    "insertion": "Insertion ↑",
    "pointing": "Pointing game ↑",
    "iou": "IoU ↑",
    "energy": "Energy in the mask ↑",
}
"""Scores in the order of the table; an arrow says which way is better."""


def show(bench: Bench) -> "Job[Any] | None":
    """On this picture or on many; the job that is under way."""
    first, second, third = st.columns([2, 2, 3], vertical_alignment="bottom")
    pictures = bench_many.pictures_of(bench.subject)
    with first:
        many = bench_many.choose(pictures)
    with second:
        fill = st.selectbox(
            "Covered patches show",
            list(trust.FILLS),
            format_func=trust.FILLS.__getitem__,
            key="bench_fill",
            persist_state="session",
            help="No fill is neutral: a curve tells of the map and of the fill. Try another one.",
        )
    if many and pictures is not None:
        return bench_many.show(bench, pictures, fill)
    with third:
        mask, told = _mask(bench)
    job = _curves(bench, fill, mask, told)
    return job or _random_weights(bench)


def _mask(bench: Bench) -> "tuple[Bool[np.ndarray, 'row column'] | None, str]":
    """Where the object is, by the scene itself or by a file; and who says so."""
    from .... import HeadscopeError
    from ....analysis.faithfulness import read_mask

    with st.popover("Mask of the object"):
        st.caption(
            "A picture of the same framing, bright where the object is and dark elsewhere: maps "
            "are then scored by whether they find it."
        )
        given = st.file_uploader(
            "Mask", ["png", "jpg", "jpeg", "webp", "bmp"], key="bench_mask", max_upload_size=20
        )
    if given is not None:
        try:
            return read_mask(given.getvalue(), bench.checkpoint), "the mask that you gave"
        except HeadscopeError as error:
            st.error(str(error))
    of_scene = trust.mask_of(bench.subject.photograph, bench.checkpoint)
    return of_scene, "the objects that the scene's class is about, its target and the star"


def _curves(
    bench: Bench, fill: str, mask: "Bool[np.ndarray, 'row column'] | None", told: str
) -> "Job[Any] | None":
    """Each map's curves as they come; the job that is under way."""
    from .... import HeadscopeError

    names = {name: found.method.long_name for name, found in bench.found.items()}
    if not names:
        st.caption("The maps are still being computed.")
        return None
    key = (bench.here, fill)
    quick = sizes.is_quick(bench.checkpoint)
    words = (
        f"Patches are covered in the order of {len(names)} maps and 2 baselines: some 36 passes "
        "each. " + ("Seconds." if quick else "A minute or more for this checkpoint.")
    )
    if not asked("curves", key, words, at_once=quick):
        return None
    jobs = {name: _job(bench, name, fill) for name in (*names, *trust.BASELINES)}
    orders: dict[str, trust.Order] = {}
    running = None
    for name, job in jobs.items():
        job.wait(0.05)
        if job.running:
            running = running or job
            continue
        try:
            if job.result is not None:
                orders[name] = job.result
        except HeadscopeError as error:
            st.error(f"{names.get(name, name)}: {error}")
    if running is not None:
        done = sum(1.0 if not job.running else job.done_share for job in jobs.values())
        text = f"Curves of {running.title}: {doing(running, 'covering patches')}"
        waits("curves", key, done / len(jobs), text, *(f"curves {name}" for name in jobs))
    if orders:
        _draw(bench, names | trust.BASELINES, orders, mask, told)
    return running


def _job(bench: Bench, name: str, fill: str) -> "Job[trust.Order]":
    """Of one map; a baseline's does not depend on the methods."""
    found = bench.found.get(name)
    values: Any = name if found is None else np.asarray(found.values[0], np.float64)
    key = (*bench.here, name) if found is None else bench.key(name)
    return in_depth.start(
        f"curves {name}",
        (*key, fill),
        trust.BASELINES[name] if found is None else found.method.long_name,
        lambda job: trust.order(job, bench.checkpoint, bench.decision, values, fill),
    )


def _draw(
    bench: Bench,
    names: Mapping[str, str],
    orders: Mapping[str, trust.Order],
    mask: "Bool[np.ndarray, 'row column'] | None",
    told: str,
) -> None:
    """The player above the table."""
    chosen = st.session_state.get("bench_follow")
    if chosen not in orders:
        st.session_state["bench_follow"] = next(iter(orders))
    chosen = st.selectbox(
        "The picture follows",
        list(orders),
        key="bench_follow",
        format_func=names.__getitem__,
        help="Patches go in the order of this map. Play, or move the slider below the curves.",
    )
    lines = [
        figures.Line(
            names[name],
            of.curves.share,
            of.curves.most_first[0],
            of.curves.share_shown,
            of.curves.insertion[0],
            is_baseline=name in trust.BASELINES,
        )
        for name, of in orders.items()
    ]
    of, crop = orders[chosen], bench.decision.crop
    pictures = figures.steps(
        crop, of.beneath, of.rank, (of.grid.row_edges, of.grid.column_edges), of.n_covered
    )
    quantity = "Probability" if of.curves.quantity == "probability" else "Score"
    chart = figures.player(
        lines,
        names[chosen],
        pictures,
        quantity=quantity,
        shape=(crop.shape[0], crop.shape[1]),
        dark=shared.is_dark(),
    )
    shared.draw(chart, figures.words(lines), "bench_curves")
    rows = _rows(names, orders, mask)
    st.html(_table(rows))
    against = bench.decision.against is not None and bench.checkpoint.has_classes
    st.caption(
        f"{quantity} of the target{', between the two classes alone' * against}, as cells of the "
        "patch grid are covered, one picture: differences of a few hundredths mean little. Areas "
        "lie under the curves; insertion − deletion is 0 on average for an order by lot. The "
        "centre map is the same for any picture, and scores well where the object is in the middle."
        + (
            f" Pointing, IoU (of the map's top of the mask's area) and energy: by {told}."
            if mask is not None
            else " Give a mask to score where the maps point."
        )
    )
    shared.offer(rows, f"faithfulness {bench.subject.name}")


def _rows(
    names: Mapping[str, str], orders: Mapping[str, trust.Order], mask: Any
) -> list[dict[str, Any]]:
    """One row a method, the best first, baselines among them."""
    rows = []
    for name, of in orders.items():
        row: dict[str, Any] = {"method": names[name], "baseline": name in trust.BASELINES}
        row |= {
            "difference": float(of.curves.difference[0]),
            "deletion": float(of.curves.deletion_area[0]),
            "insertion": float(of.curves.insertion_area[0]),
        }
        if mask is not None:
            row |= trust.placed(of.values, mask)
        rows.append(row)
    return sorted(rows, key=lambda row: -row["difference"])


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    """As HTML; the best of the methods in each column is bold."""
    there = [name for name in COLUMNS if name in rows[0]]
    best = {}
    for name in there:
        values = [
            round(row[name], 3) for row in rows if not row["baseline"] and np.isfinite(row[name])
        ]
        best[name] = (min if name == "deletion" else max)(values, default=None)
    lines = ["<tr><th>Method</th>" + "".join(f"<th>{COLUMNS[n]}</th>" for n in there) + "</tr>"]
    for row in rows:
        cells = [html.escape(str(row["method"]))]
        for name in there:
            text = f"{row[name]:.3f}".replace("-", "−") if np.isfinite(row[name]) else "–"
            is_best = not row["baseline"] and round(row[name], 3) == best[name]
            cells.append(f"<b>{text}</b>" if is_best else text)
        faint = ' class="hs-baseline"' if row["baseline"] else ""
        lines.append(f"<tr{faint}>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>")
    return f'<table class="hs-compare">{"".join(lines)}</table>'


def _random_weights(bench: Bench) -> "Job[Any] | None":
    """Adebayo's check of the methods that are shown, where it is asked for."""
    st.html('<h3 class="hs-depth">With random weights</h3>')
    names = list(bench.found)
    key = (bench.here, tuple(bench.key(name) for name in names))
    words = (
        "A map that explains what the model has learnt must change when its weights are random. "
        "Every map that is shown is computed again with random weights, several times."
    )
    if not asked("weights", key, words, at_once=False, label="Check the maps"):
        return None
    others = bench_many.pictures_of(bench.subject)
    jobs = {name: _check(bench, name, others) for name in names}
    running = next((job for job in jobs.values() if job.running), None)
    if running is not None:
        running.wait(0.2)
        done = sum(1.0 if not job.running else job.done_share for job in jobs.values())
        text = doing(running, running.title)
        waits("weights", key, done / len(jobs), text, *(f"weights {name}" for name in names))
    _verdicts(bench, {name: job for name, job in jobs.items() if not job.running})
    return running


def _check(bench: Bench, name: str, others: Any) -> "Job[Randomisation]":
    return in_depth.start(
        f"weights {name}",
        bench.key(name),
        bench.methods[name].long_name,
        lambda job: trust.randomisation(
            job, bench.checkpoint, bench.decision, name, bench.options[name], others
        ),
    )


def _verdicts(bench: Bench, jobs: "Mapping[str, Job[Randomisation]]") -> None:
    """A line for each; what does not pass is a warning on its card, too."""
    from .... import HeadscopeError

    warnings = dict(st.session_state.get("bench_warnings", {}))
    lines = []
    for name, job in jobs.items():
        try:
            check = job.result
        except HeadscopeError as error:
            st.error(f"{bench.methods[name].long_name}: {error}")
            continue
        if check is None:
            continue
        sentence = check.sentence
        if sentence:
            warnings[bench.key(name)] = sentence
        rho = plain(check.similarity)
        _, n_seeds, n_images = check.rho.shape
        on = f"{n_images} image{'s' * (n_images > 1)}, {n_seeds} draw{'s' * (n_seeds > 1)}"
        verdict = sentence or (
            f"{bench.methods[name].long_name} changes with the weights (rank correlation {rho})."
            if np.isfinite(check.similarity)
            else f"{bench.methods[name].long_name}: the maps are flat, so nothing can be said."
        )
        mark = ":material/warning:" if sentence else ":material/check:"
        lines.append(f"{mark} {verdict} ({on})")
    if lines:
        st.markdown("  \n".join(lines))
        st.caption(
            "Rank correlation of the cells, mean over this picture and others and over draws of "
            "weights; from 0.3 on a map counts as one that does not depend on them."
        )
    if warnings != st.session_state.get("bench_warnings", {}):
        st.session_state["bench_warnings"] = warnings
        st.rerun()
