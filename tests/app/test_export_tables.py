"""Tables as files: LaTeX, Markdown, CSV."""

import csv
import io

import plotly.graph_objects as go

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
