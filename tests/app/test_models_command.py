"""`headscope models`: what it says is what a run finds."""

import json
import re
from pathlib import Path

import pytest

from headscope.app import models_command
from headscope.app.cli import main
from headscope.models.survey import NONE, PARTLY, READ, REFUSED, Entry, smallest_model, survey

TABLE = Path(__file__).parents[2] / "docs" / "models.md"


def test_the_smallest_model_is_one_with_attention():
    name, count = smallest_model("pvt_v2")
    assert name == "pvt_v2_b0"
    assert count == 3_666_760
    assert smallest_model("metaformer")[0].startswith("caformer"), "PoolFormer is smaller"


@pytest.mark.parametrize(
    ("module", "status", "attention"),
    [
        ("pvt_v2", READ, {"pooled keys", "global"}),
        ("levit", READ, {"global", "pooled queries"}),
        ("edgenext", REFUSED, set()),
        ("starnet", NONE, set()),
    ],
)
def test_status_is_what_the_run_finds(module, status, attention):
    (entry,) = survey([module])
    assert entry.status == status
    assert set(entry.attention) == attention
    assert (entry.n_read > 0) == bool(attention)
    assert bool(entry.refused) == (status == REFUSED)


def test_the_shipped_table_is_what_a_run_gives(capsys):
    """Of all rows, some that are quick: the rest is made by the same command."""
    shipped = TABLE.read_text()
    assert main(["models", "--markdown", "--module", "pvt_v2", "levit", "edgenext"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5
    for line in lines:
        assert line in shipped


def test_forms(monkeypatch, capsys):
    entries = [
        Entry(
            "davit", "davit_tiny", 5, (224, 224), PARTLY, 6, {"windows": 5, "global": 1},
            ((56, 56), (7, 7)), ("class", "register", "register"), {"channel attention: …": 6},
        ),
        Entry("vgg", "vgg11", 5, (224, 224), NONE),
    ]  # fmt: skip
    monkeypatch.setattr("headscope.models.survey.survey", lambda *_, **__: iter(entries))
    assert main(["models"]) == 0
    out = capsys.readouterr().out
    assert "partly read (without channel attention)" in out
    assert "56×56, 7×7" in out
    assert "class, 2 register" in out
    assert "6 of 12" in out
    assert "vgg" not in out
    assert out.endswith("1 modules: 1 partly read.\n")
    assert main(["models", "--all", "--json"]) == 0
    assert [entry["module"] for entry in json.loads(capsys.readouterr().out)] == ["davit", "vgg"]
    assert main(["models", "--markdown", "--verbose"]) == 0
    out, err = capsys.readouterr()
    assert re.fullmatch(r"(\|[^\n]*\|\n){3}", out)
    assert "davit: 0.0 s" in err
    assert len(models_command.cells(entries[0])) == len(models_command.HEADER)


def test_an_unknown_module_gets_a_sentence(capsys):
    assert main(["models", "--module", "nope"]) == 2
    assert "timm has no module 'nope'" in capsys.readouterr().err
