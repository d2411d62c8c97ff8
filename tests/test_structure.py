"""The house rules that a machine can check."""

import ast
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE_FOLDERS = ("analysis", "app", "models")
MODULES = sorted(p for folder in PACKAGE_FOLDERS for p in (ROOT / folder).rglob("*.py"))


def imports(path):
    """Every module that a file imports, relative ones as they are written."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or "")


def test_packages_are_the_folders_that_hold_modules():
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    folders = {"headscope"} | {
        "headscope." + ".".join(path.parent.relative_to(ROOT).parts) for path in MODULES
    }
    assert set(listed) == folders


FORBIDDEN = [
    ("models", ("streamlit", "plotly")),
    ("analysis", ("streamlit", "plotly")),
    ("app/figures", ("streamlit", "torch")),
    ("app/views", ("torch",)),
]


@pytest.mark.parametrize(("folder", "names"), FORBIDDEN)
def test_imports_go_one_way(folder, names):
    files = [p for p in MODULES if p.is_relative_to(ROOT / folder)]
    assert files
    for path in files:
        found = {name.partition(".")[0] for name in imports(path)}
        assert not found & set(names), path


@pytest.mark.parametrize(
    ("folder", "above"), [("models", ("analysis", "app")), ("analysis", ("app",))]
)
def test_lower_floors_do_not_know_the_upper_ones(folder, above):
    for path in (p for p in MODULES if p.is_relative_to(ROOT / folder)):
        depth = len(path.relative_to(ROOT).parts)
        for floor in above:
            assert not any(name.startswith("." * depth + floor) for name in imports(path)), path


def test_only_the_streamlit_script_imports_the_package_by_name():
    for path in MODULES:
        if path != ROOT / "app" / "main.py":
            assert not any(name.partition(".")[0] == "headscope" for name in imports(path)), path


def test_no_file_beside_the_streamlit_script_is_called_like_a_standard_module():
    """`streamlit run` puts the script's folder first on the path."""
    names = {path.stem for path in (ROOT / "app").iterdir()}
    assert not names & set(sys.stdlib_module_names)


def test_folders_of_assets_are_no_packages():
    for path in (ROOT / "assets").rglob("*"):
        assert path.suffix != ".py"


def test_files_stay_short():
    sources = [*MODULES, *(ROOT / "tests").rglob("*.py"), *(ROOT / "app").rglob("*.js")]
    for path in sources:
        assert len(path.read_text().splitlines()) <= 400, path


def test_caches_have_one_owner():
    for path in MODULES:
        if path != ROOT / "app" / "services.py":
            assert "st.cache_" not in path.read_text(), path
