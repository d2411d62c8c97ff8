"""What the README says can be typed as it stands."""

import re
import shlex
from pathlib import Path

import pytest

from headscope.app.cli import main

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)
COMMANDS = [
    line
    for language, block in BLOCKS
    if not language
    for line in block.splitlines()
    if line.startswith("headscope") and "app" not in line
]


def test_the_first_two_blocks_are_the_two_commands():
    first, second = (block.strip() for _, block in BLOCKS[:2])
    assert first == "python -m pip install . && headscope"
    assert second == "python -m pip install '.[test]' && python -m pytest"


def test_commands_of_the_tour_work(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert any("analyze" in command for command in COMMANDS)
    for command in COMMANDS:
        assert main(shlex.split(command)[1:]) == 0, capsys.readouterr().err


def test_the_python_of_the_tour_works():
    (code,) = [block for language, block in BLOCKS if language == "python"]
    names = {}
    exec(compile(code, "README.md", "exec"), names)
    assert names["study"].is_complete


@pytest.mark.parametrize("path", re.findall(r'(?:src|srcset)="([^"]+)"|\]\(([^)#]+)\)', README))
def test_files_that_it_names_exist(path):
    name = next(part for part in path if part)
    assert name.startswith("http") or (Path(__file__).parent.parent / name).exists()
