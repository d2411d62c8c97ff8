"""What is in the images: folders, tables, the caller; and what becomes of it in a study."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

import headscope as hs
from headscope.analysis.importance.classes import accuracy, per_class
from headscope.analysis.labels import class_named

LABELS = ("tabby, tabby cat", "great white shark", "white shark", "crane", "Crane", "7 up")


@pytest.fixture(scope="module")
def named(known):
    """A checkpoint whose classes have names like ImageNet's."""
    return dataclasses.replace(known, labels=LABELS)


@pytest.mark.parametrize(
    ("text", "index"),
    [
        ("tabby, tabby cat", 0),
        ("tabby_cat", 0),
        ("Tabby", 0),
        ("GREAT_WHITE_SHARK", 1),
        ("crane", 3),
        ("Crane", 4),
        (3, 3),
        ("5", 5),
        ("7_up", 5),
    ],
)
def test_a_class_is_named_as_people_name_folders(named, text, index):
    assert class_named(named, text) == index


@pytest.mark.parametrize("text", ["dog", "CRANE", "6", 6])
def test_what_names_no_class_or_two_says_so(named, text):
    with pytest.raises(hs.HeadscopeError, match="has no class"):
        class_named(named, text)


def test_folders_of_imagenet_are_known_by_their_wordnet_names(small):
    assert class_named(small, "n01440764") == 0
    assert class_named(small, "tench") == 0


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Six images in two folders called like the classes of the known-answer ViT."""
    folder = tmp_path_factory.mktemp("photos")
    random = np.random.default_rng(0)
    for index in range(6):
        path = folder / ("Dark" if index in (0, 3) else "bright") / f"{index}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(random.integers(0, 256, (32, 32, 3), np.uint8)).save(path)
    return hs.find_images([folder])


TRUTH = [0, 0, 0, 0, 1, 1]
"""`find_images` takes folders in natural order, whatever the case: bright, Dark."""


def labels_in(study):
    return study.data["label"].values.tolist()


@pytest.fixture(scope="module")
def study(known, photos):
    return hs.analyze(known, photos, labels="folders", batch_size=4)


def test_folders_name_labels(study):
    assert labels_in(study) == TRUTH
    assert study.settings["labels"] == TRUTH


def test_a_table_names_labels(known, photos):
    """By the whole path, by the name, by the path from the table's folder."""
    table = photos[0].parents[1] / "labels.csv"
    rows = [f"{photos[0]},bright", f"{photos[1].name},bright", "of another.png,dark"]
    rows += [f"{photos[3].parent.name}/{photos[3].name}, 1"]
    table.write_text("\ufeffimage,label\n" + "\n".join(rows), encoding="utf-8")
    study = hs.analyze(known, photos, labels=table, importance=False)
    assert labels_in(study) == [0, 0, -1, 1, -1, -1]


def test_the_caller_names_labels(known, photos):
    study = hs.analyze(known, photos, labels=[1, 0, "dark", 0, 1, 1], importance=False)
    assert labels_in(study) == [1, 0, 1, 0, 1, 1]
    study = hs.analyze(known, photos, labels={photos[2].name: "dark"}, importance=False)
    assert labels_in(study) == [-1, -1, 1, -1, -1, -1]


def test_an_image_that_is_left_out_takes_its_label_along(known, photos, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    images = [photos[0], broken, photos[3]]
    study = hs.analyze(
        known, images, labels=[0, 0, 1], importance=False, on_unreadable=lambda *_: None
    )
    assert labels_in(study) == [0, 1]


def wrong_labels(tmp_path):
    columns, empty = tmp_path / "columns.csv", tmp_path / "empty.csv"
    columns.write_text("file,class\na,b\n")
    empty.write_text("image,label\nother.png,dark\n")
    binary = tmp_path / "binary.csv"
    binary.write_bytes(b"image,label\n\xff\xfe,1\n")
    return {
        "columns": (columns, 'columns file, class; expected a first line "image,label"'),
        "none of them": (empty, "None of 6 images has a label"),
        "binary": (binary, "no CSV file in UTF-8"),
        "no file": (tmp_path / "none.csv", "cannot be read"),
        "too few": ([0, 1], "2 labels for 6 images"),
        "no class": (["bird"] * 6, "label of 1.png: .*no class 'bird'"),
    }


@pytest.mark.parametrize(
    "case", ["columns", "none of them", "binary", "no file", "too few", "no class"]
)
def test_wrong_labels_get_a_sentence(known, photos, tmp_path, case):
    labels, sentence = wrong_labels(tmp_path)[case]
    with pytest.raises(hs.HeadscopeError, match=sentence):
        hs.analyze(known, photos, labels=labels)


def test_labels_of_what_has_none_get_a_sentence(known, photos, known_crops):
    with pytest.raises(hs.HeadscopeError, match="in no folder"):
        hs.analyze(known, list(known_crops), labels="folders")
    features = dataclasses.replace(known, labels=())
    with pytest.raises(hs.HeadscopeError, match="has no classes"):
        hs.analyze(features, photos, labels="folders")


def test_accuracy_with_and_without_each_head_is_counted(known, photos, study):
    """Against whole passes under `ablate`."""
    batch = known.batch(list(photos))
    found = accuracy(study)
    truth = np.array(TRUTH)
    assert float(found["whole"]) == (known.probabilities(batch).argmax(1) == truth).mean()
    assert int(found["n_images"]) == 6
    shares = set()
    for layer in range(2):
        for head in range(5):
            with hs.ablate(known, [(layer, head)]):
                expected = (known.probabilities(batch).argmax(1) == truth).mean()
            without = float(found["without"].sel(ablation="zero", layer=layer, head=head))
            assert without == pytest.approx(expected, abs=1e-7)  # the study holds float32
            shares.add(round(without, 3))
    assert len(shares) > 1, "some head decides"
    with pytest.raises(hs.HeadscopeError, match="no top-5 accuracy"):
        accuracy(study, top=5)


def test_accuracy_needs_labels(known, known_crops):
    with pytest.raises(hs.HeadscopeError, match="no top-1 accuracy"):
        accuracy(hs.analyze(known, list(known_crops)))


def test_means_by_class(study):
    scores = study.data["probability_drop"].sel(ablation="zero")
    found = per_class(scores, study.data["label"])
    assert found["class"].values.tolist() == [0, 1]
    assert found["n_images"].values.tolist() == [4, 2]
    assert found["mean"].dims == ("class", "layer", "head")
    assert found["mean"].attrs["units"] == "probability"
    np.testing.assert_allclose(found["mean"][1], scores.values[4:].mean(0), rtol=1e-6)
    some = per_class(scores, np.array([-1, 9, 9, -1, -1, 2]))
    assert some["class"].values.tolist() == [2, 9]
    assert some["n_images"].values.tolist() == [1, 2]
    np.testing.assert_allclose(some["mean"][1], scores.values[1:3].mean(0), rtol=1e-6)
    for labels, sentence in (([0], "1 labels for 6 images"), ([-1] * 6, "No image has a label")):
        with pytest.raises(hs.HeadscopeError, match=sentence):
            per_class(scores, np.array(labels))
