"""Rows as LaTeX, Markdown and CSV."""

import csv as csv_files
import io
import math
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]
DIGITS = 4
"""Significant digits of a number in LaTeX and Markdown; CSV has all that there are."""
LONGEST = 200
"""Rows of a LaTeX or Markdown table; more are in the CSV."""
_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "−": r"$-$",
    "×": r"$\times$",
    "·": r"$\cdot$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "±": r"$\pm$",
    "√": r"$\surd$",
    "‖": r"$\Vert$",
    "⟨": r"$\langle$",
    "⟩": r"$\rangle$",
    "⌊": r"$\lfloor$",
    "⌋": r"$\rfloor$",
    "⌈": r"$\lceil$",
    "⌉": r"$\rceil$",
    "′": "$'$",
    "∞": r"$\infty$",
    "∂": r"$\partial$",
    "∫": r"$\int$",
    "∅": r"$\emptyset$",
    "∪": r"$\cup$",
    "∘": r"$\circ$",
    "⊙": r"$\odot$",
    "≈": r"$\approx$",
    "≠": r"$\neq$",
    "→": r"$\rightarrow$",
    "←": r"$\leftarrow$",
    "↔": r"$\leftrightarrow$",
    "ε": r"$\varepsilon$",
    "φ": r"$\varphi$",
    "°": r"$^\circ$",
    "–": "--",
    "—": "---",
    "…": r"\dots{}",
    "“": "``",
    "”": "''",
    "\n": " ",
}
_ACCENTS = {
    "\u0300": r"\`",
    "\u0301": r"\'",
    "\u0302": r"\^",
    "\u0303": r"\~",
    "\u0304": r"\=",
    "\u0306": r"\u",
    "\u0307": r"\.",
    "\u0308": r"\"",
    "\u030a": r"\r",
    "\u030b": r"\H",
    "\u030c": r"\v",
    "\u0327": r"\c",
    "\u0328": r"\k",
}
_GREEK = (
    "alpha beta gamma delta zeta eta theta iota kappa lamda mu nu xi pi rho sigma tau upsilon chi "
    "psi omega Gamma Delta Theta Lamda Xi Pi Sigma Upsilon Phi Psi Omega"
)
for _letter in _GREEK.split():
    _size = "small" if _letter.islower() else "capital"
    _command = _letter.replace("mda", "mbda")  # Unicode's spelling
    _LATEX[unicodedata.lookup(f"greek {_size} letter {_letter}".upper())] = rf"$\{_command}$"


def escaped(text: str) -> str:
    """Text as pdfLaTeX takes it; letters of other scripts stay, which XeLaTeX and LuaLaTeX take."""
    found: list[str] = []
    for character in unicodedata.normalize("NFC", text):
        if character in _ACCENTS and found:  # no letter has it built in, as with A and a tilde
            found[-1] = f"{_ACCENTS[character]}{{{found[-1]}}}"
        else:
            found.append(_escaped(character))
    return "".join(found)


def _escaped(character: str) -> str:
    if character in _LATEX or ord(character) < 256:
        return _LATEX.get(character, character)
    form, *parts = unicodedata.decomposition(character).split() or [""]
    if form in ("<sub>", "<super>"):
        inner = escaped("".join(chr(int(part, 16)) for part in parts)).replace("$", "")
        return f"${'_' if form == '<sub>' else '^'}{{{inner}}}$"
    if parts and not form.startswith("<") and (mark := chr(int(parts[0], 16))) in _ACCENTS:
        return f"{_ACCENTS[mark]}{{{_escaped(chr(int(form, 16)))}}}"
    return character


def csv(rows: Sequence[Row]) -> bytes:
    """All of it; what has no number is left empty."""
    text = io.StringIO()
    names = _names(rows)
    writer = csv_files.writer(text, lineterminator="\n")
    if names:
        writer.writerow(names)
    for row in rows:
        writer.writerow(["" if _is_nothing(row.get(name)) else row[name] for name in names])
    return text.getvalue().encode()


def latex(rows: Sequence[Row], caption: str = "", label: str = "") -> str:
    """A table in booktabs' style; numbers stand right, with the same decimals in a column.

    It needs `\\usepackage{booktabs}`, and nothing else.
    """
    kept, note = _kept(rows)
    names = _telling(kept)
    columns = [_column([row.get(name) for row in kept], latex=True) for name in names]
    form = "".join("r" if right else "l" for _, right in columns)
    lines = [
        "% \\usepackage{booktabs}",
        "\\begin{table}",
        "\\centering",
        *([f"\\caption{{{escaped(caption + note)}}}"] if caption else []),
        *([f"\\label{{{label}}}"] if label else []),
        f"\\begin{{tabular}}{{{form}}}",
        "\\toprule",
        " & ".join(escaped(name.replace("_", " ")) for name in names) + r" \\",
        "\\midrule",
        *(" & ".join(cells[place] for cells, _ in columns) + r" \\" for place in range(len(kept))),
        "\\bottomrule",
        "\\end{tabular}",
        "\\end{table}",
    ]
    return "\n".join(lines) + "\n"


def markdown(rows: Sequence[Row], caption: str = "") -> str:
    """A table as GitHub and Pandoc read it."""
    kept, note = _kept(rows)
    names = _telling(kept)
    columns = [_column([row.get(name) for row in kept], latex=False) for name in names]
    titles = [name.replace("_", " ").replace("|", "\\|") for name in names]
    widths = [
        max([len(title), 3, *map(len, cells)])
        for title, (cells, _) in zip(titles, columns, strict=True)
    ]

    def line(cells: Sequence[str]) -> str:
        padded = (
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, (_, right) in zip(cells, widths, columns, strict=True)
        )
        return f"| {' | '.join(padded)} |"

    rule = [
        "-" * (width - 1) + (":" if right else "-")
        for width, (_, right) in zip(widths, columns, strict=True)
    ]
    body = [line([cells[place] for cells, _ in columns]) for place in range(len(kept))]
    text = "\n".join([line(titles), line(rule), *body])
    return text + (f"\n\n{caption}{note}\n" if caption else "\n")


def _kept(rows: Sequence[Row]) -> tuple[Sequence[Row], str]:
    if len(rows) <= LONGEST:
        return rows, ""
    return rows[:LONGEST], f" The first {LONGEST} of {len(rows):,} rows; the CSV file has all."


def _names(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row))


def _telling(rows: Sequence[Row]) -> list[str]:
    """Columns without those whose words are the same in every row: the caption says them."""
    names = _names(rows)
    if len(rows) < 2:
        return names

    def same(name: str) -> bool:
        values = {str(row.get(name)) for row in rows}
        return len(values) == 1 and not _is_number(rows[0].get(name))

    return [name for name in names if not same(name)] or names


def _column(values: Sequence[Any], *, latex: bool) -> tuple[list[str], bool]:
    """A column's cells, and whether they stand right."""
    numbers = [v for v in values if _is_number(v) and not _is_nothing(v)]
    all_numbers = bool(numbers) and all(_is_nothing(v) or _is_number(v) for v in values)
    if not all_numbers:
        return [_text(value, latex=latex) for value in values], False
    if all(float(v).is_integer() and abs(v) < 1e12 for v in numbers):
        return [_signed(v, "{:.0f}", latex=latex) for v in values], True
    largest = max((abs(float(v)) for v in numbers if math.isfinite(v)), default=0.0)
    decimals = min(8, max(0, DIGITS - 1 - math.floor(math.log10(largest)))) if largest else 0
    return [_signed(v, f"{{:.{decimals}f}}", latex=latex) for v in values], True


def _signed(value: Any, form: str, *, latex: bool) -> str:
    if _is_nothing(value):
        return "--" if latex else "–"
    if math.isinf(float(value)):
        sign = "-" if value < 0 else ""
        return f"${sign}\\infty$" if latex else f"{sign.replace('-', '−')}∞"
    text = form.format(float(value))
    if float(text) == 0:
        text = text.removeprefix("-")
    if not text.startswith("-"):
        return text
    return f"$-${text[1:]}" if latex else f"−{text[1:]}"


def _text(value: Any, *, latex: bool) -> str:
    if _is_nothing(value):
        return "--" if latex else "–"
    text = f"{value:.{DIGITS}g}" if isinstance(value, float) else str(value)
    return escaped(text) if latex else text.replace("|", "\\|").replace("\n", " ")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_nothing(value: Any) -> bool:
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))
