"""Tables as files: LaTeX, Markdown, CSV."""

import csv
import io

import plotly.graph_objects as go

from headscope.analysis.about import descriptions
from headscope.analysis.across.base import across_metrics
from headscope.analysis.importance.metrics import all_importance_metrics
from headscope.analysis.metrics.base import attention_metrics
from headscope.analysis.metrics.hidden import hidden_metrics
from headscope.app.export import tables
from headscope.app.export.rows import rows_of

ROWS = [
    {"name": "a_b & 50 % {x}", "value": 0.12345678, "n": 3, "kind": "same"},
    {"name": "~^\\#$", "value": -1.5, "n": 4, "kind": "same"},
    {"name": "none", "value": float("nan"), "n": 5, "kind": "same"},
]


def test_latex_is_escaped_and_aligned() -> None:
    text = tables.latex(ROWS, "50 % of_all", "tab:x")
    assert r"a\_b \& 50 \% \{x\} & 0.123 & 3 \\" in text
    assert r"\textasciitilde{}\textasciicircum{}\textbackslash{}\#\$ & $-$1.500 & 4 \\" in text
    assert r"none & -- & 5 \\" in text
    assert r"\caption{50 \% of\_all}" in text
    assert r"\begin{tabular}{lrr}" in text  # the column that is the same everywhere is left out
    assert "siunitx" not in text
    for rule in ("toprule", "midrule", "bottomrule"):
        assert f"\\{rule}" in text


def test_markdown_and_csv_have_every_row() -> None:
    lines = tables.markdown(ROWS).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert lines[1].endswith(":|") is False
    assert "−1.500" in lines[3]
    read = list(csv.DictReader(io.StringIO(tables.csv(ROWS).decode())))
    assert [row["name"] for row in read] == [row["name"] for row in ROWS]
    assert float(read[0]["value"]) == ROWS[0]["value"]  # to the last digit
    assert read[2]["value"] == ""


def test_a_long_table_is_cut_and_says_so() -> None:
    rows = [{"n": n, "half": n / 2} for n in range(500)]
    assert "first 200 of 500" in tables.markdown(rows, "Numbers.")
    assert tables.csv(rows).count(b"\n") == 501


def test_rows_of_a_chart_are_what_is_drawn() -> None:
    bars = {"type": "data", "symmetric": False, "array": [1.0, 2.0], "arrayminus": [0.5, 0.25]}
    dots = go.Scatter(x=[1, 2], y=[5.0, 6.0], error_y=bars, customdata=[[3, 1], [4, 0]], name="d")
    rows = rows_of(go.Figure([dots, go.Heatmap(z=[[1.0, None]], x=["a", "b"], y=["c"])]))
    first = {"series": "d", "x": 1, "y": 5.0, "y_low": 4.5, "y_high": 6.0, "layer": 3, "head": 1}
    assert rows[0] == first
    assert rows[-1] == {"series": "trace 2", "x": "a", "y": "c", "value": 1.0}
    assert len(rows) == 3


def test_every_registered_word_is_what_pdflatex_takes() -> None:
    """ASCII and Latin-1 (of names such as Kovács) alone: formulas are in mathematics."""
    metrics = [
        *attention_metrics().values(),
        *hidden_metrics().values(),
        *all_importance_metrics().values(),
        *across_metrics().values(),
    ]
    texts = [*descriptions().values(), *(m.long_name for m in metrics), *(m.units for m in metrics)]
    assert any("Σ" in text for text in texts)
    for text in texts:
        found = tables.escaped(text)
        assert not [character for character in found if ord(character) > 255], found
        assert found.replace("\\$", "").count("$") % 2 == 0, found


def test_formulas_become_mathematics() -> None:
    assert tables.escaped("‖Σⱼ δ₍ₖ₎ᵀ‖") == (
        r"$\Vert$$\Sigma$$_{j}$ $\delta$$_{(}$$_{k}$$_{)}$$^{T}$$\Vert$"
    )
    assert tables.escaped("A\u0304 Ā G\u0302 λ⁻¹ ∞") == (
        r"\={A} \={A} \^{G} $\lambda$$^{-}$¹ $\infty$"
    )
    assert tables.escaped("漢") == "漢"  # what XeLaTeX takes stays


def test_a_column_without_a_finite_number() -> None:
    infinite = [{"n": float("inf")}, {"n": float("-inf")}, {"n": float("nan")}]
    assert r"$\infty$ \\" in tables.latex(infinite)
    assert "|  −∞ |" in tables.markdown(infinite)
