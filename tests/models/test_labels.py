from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.datasets.folder import find_classes
from torchvision.models import ResNet18_Weights

from camcli.errors import RequestError
from camcli.models import labels

CATEGORIES: list[str] = ResNet18_Weights.DEFAULT.meta["categories"]
PETS = ("cat", "dog", "fish")


def names_in(content: str | bytes, name: str = "names.txt") -> tuple[str, ...]:
    path = Path(name)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return labels.read(path)


def refusal(content: str | bytes, name: str = "names.txt") -> str:
    with pytest.raises(RequestError) as caught:
        names_in(content, name)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"{name}: ")
    return message.removeprefix(f"{name}: ")


@pytest.mark.parametrize(
    "content",
    [
        "cat\ndog\nfish",
        "cat\ndog\nfish\n \n\t\n\n",
        "\ufeffcat\r\ndog\r\nfish\r\n",
        " cat \n\tdog\nfish\t\n",
        "cat\rdog\rfish",
    ],
)
def test_a_text_holds_one_name_a_line(content: str) -> None:
    assert names_in(content) == PETS


def test_names_stay_as_they_are() -> None:
    listed = ("tench, Tinca tinca", "jack-o'-lantern", "クレーン", "a\x0bb\u2028c", "crane", "crane", "3", "0.5 mm")
    assert names_in("\n".join(listed)) == listed


@pytest.mark.parametrize(
    "lines",
    [
        ["0 cat", "1 dog", "2 fish"],
        ["0: cat", "1: dog", "2: fish"],
        ["0:cat", "1:dog", "2:fish"],
        ["0,cat", "1,dog", "2, fish"],
        ["0\tcat", "1\tdog", "2\tfish"],
        ["0 - cat", "1 - dog", "2 - fish"],
        ["000 cat", "001 dog", "002 fish"],
        ["0 n02121808 cat", "1 n02084071 dog", "2 n02512053 fish"],
    ],
)
def test_ids_in_front_of_every_line_are_cut_off(lines: list[str]) -> None:
    assert names_in("\n".join(lines)) == PETS


@pytest.mark.parametrize(
    "lines",
    [
        ["1 cat", "2 dog"],  # from 1: not ids as we count
        ["0 cat", "2 dog"],
        ["0 cat", "dog"],
        ["cat,0", "dog,1"],
        ["0", "1", "2"],  # the digits' own names
        ["0cat", "1dog"],
        ["7 up", "0 cat"],
        ["9" * 5000 + " cat"],
    ],
)
def test_numbers_that_are_no_ids_belong_to_the_names(lines: list[str]) -> None:
    assert names_in("\n".join(lines)) == tuple(lines)


def test_wordnet_ids_in_front_of_every_name_are_cut_off() -> None:
    assert names_in("n01440764 tench, Tinca tinca\nn01443537\tgoldfish, Carassius auratus") == (
        *("tench, Tinca tinca", "goldfish, Carassius auratus"),
    )
    assert names_in("n01440764,tench\nn01443537: goldfish") == ("tench", "goldfish")


@pytest.mark.parametrize(
    "lines", [["n01440764", "n01443537"], ["n01440764 tench", "n01443537"], ["n0144 tench"], ["n014407640 tench"]]
)
def test_a_wordnet_id_alone_is_a_name(lines: list[str]) -> None:
    assert names_in("\n".join(lines)) == tuple(lines)


@pytest.mark.parametrize(
    ("content", "line"), [("cat\n\ndog", 2), ("\ncat", 1), ("cat\ndog\n \nfish\n", 3), ("0,cat\n1,\n2,fish", 2)]
)
def test_a_line_without_a_name_is_refused_by_its_number(content: str, line: int) -> None:
    assert refusal(content) == f"line {line} has no name: give one name a line"


WORDNET_PAIRS = {"0": ["n02121808", "cat"], "1": ["n02084071", "dog"], "2": ["n02512053", "fish"]}
BY_ID = {"1": "dog", "0": "cat", "2": "fish"}
TO_ID = {"dog": 1, "fish": 2, "cat": 0}


@pytest.mark.parametrize(
    "value", [["cat", "dog", " fish "], BY_ID, TO_ID, {"cat": "0", "dog": "1", "fish": "2"}, WORDNET_PAIRS]
)
@pytest.mark.parametrize("key", [None, *labels.KEYS])
def test_json_in_every_form_people_save(value: object, key: str | None) -> None:
    text = json.dumps(value if key is None else {"model_type": "vit", "num_labels": 3, key: value})
    assert names_in(text, "names.json") == PETS
    assert names_in("\ufeff \n" + text, "names.txt") == PETS  # known by its first bracket
    assert names_in(text, "NAMES.JSON") == PETS


def test_every_key_is_looked_for() -> None:
    assert set(labels.KEYS) == {
        *("id2label", "label2id", "class_to_idx", "idx_to_class", "label_names", "labels", "classes", "names")
    }


def test_digits_and_words_of_our_own_can_be_names() -> None:
    assert names_in(json.dumps({"0": 0, "1": 1, "10": 2}), "a.json") == ("0", "1", "10")
    assert names_in(json.dumps({"0": "1", "1": "0"}), "a.json") == ("1", "0")
    assert names_in(json.dumps({"names": 0, "labels": 1}), "a.json") == ("names", "labels")


def test_names_may_be_doubled_but_not_with_two_ids_of_their_own() -> None:
    assert names_in('["crane", "crane"]', "a.json") == ("crane", "crane")
    assert names_in('{"0": "crane", "1": "crane"}', "a.json") == ("crane", "crane")
    message = "'crane' is there twice: give each"
    assert refusal('{"crane": 0, " crane": 1}', "a.json") == f"{message} name its own id"
    assert refusal('{"crane": 0, "crane": 1}', "a.json") == f"{message} id or name once"
    assert refusal('{"0": "cat", "0": "dog"}', "a.json") == "'0' is there twice: give each id or name once"


@pytest.mark.parametrize(
    ("value", "names"),
    [
        ([1, 2, 3], ("1", "2", "3")),
        ([7, -1], ("7", "-1")),
        ({"classes": [10, 20]}, ("10", "20")),
        ({"id2label": {"0": 1, "1": 2, "2": 3}}, ("1", "2", "3")),
        ({"idx_to_class": {"1": 0, "0": 5}}, ("5", "0")),
        ({"class_to_idx": {"1": 0, "2": 1, "10": 2}}, ("1", "2", "10")),
    ],
)
def test_numbers_are_names_where_nothing_else_can_be_meant(value: object, names: tuple[str, ...]) -> None:
    assert names_in(json.dumps(value), "a.json") == names


@pytest.mark.parametrize("value", [[1, "cat"], [1, 1, 2], [True, False], [0.5, 1.5], {"labels": [0, 1, 1]}])
def test_other_numbers_are_no_names(value: object) -> None:
    assert "has no name" in refusal(json.dumps(value), "a.json")


@pytest.mark.parametrize(
    ("value", "wrong", "last"),
    [
        ({"1": "cat", "2": "dog"}, "id 0 is missing", 1),
        ({"0": "cat", "2": "dog"}, "id 1 is missing", 1),
        ({"0": "cat", "00": "dog"}, "id 0 is doubled", 1),
        ({"cat": 0, "dog": 0}, "id 0 is doubled", 1),
        ({"cat": 0, "dog": 1, "fish": 1}, "id 1 is doubled", 2),
        ({"cat": 0, "dog": 1, "fish": 3}, "id 2 is missing", 2),
        ({"cat": -1, "dog": 0}, "id 1 is missing", 1),
        ({"id2label": {"0": "cat", "5": "dog"}, "num_labels": 2}, "id 1 is missing", 1),
    ],
)
def test_ids_are_0_to_n_each_once(value: object, wrong: str, last: int) -> None:
    assert refusal(json.dumps(value), "a.json") == f"{wrong}: give each id from 0 to {last} once"


@pytest.mark.parametrize("value", [["cat", ""], ["cat", " "], ["cat", 7], ["cat", None], {"0": "cat", "1": ""}])
def test_a_class_without_a_name_is_refused_by_its_id(value: object) -> None:
    assert refusal(json.dumps(value), "a.json") == "class 1 has no name: give each id a text that is not empty"


@pytest.mark.parametrize("text", ["[]", "{}", '{"cat": 0.5}', '{"lr": 0.1, "model": "vit"}', "7", '"cat"', "null"])
def test_json_without_names_is_told_the_forms(text: str) -> None:
    message = refusal(text, "a.json")
    assert message.startswith("no names in it: give a list, id to name, name to id, or one of them under id2label or ")


def test_an_invalid_key_gives_way_to_a_valid_one() -> None:
    assert names_in(json.dumps({"labels": [3, 5], "names": list(PETS)}), "a.json") == PETS
    assert refusal(json.dumps({"labels": [3, 5]}), "a.json").startswith("class 0 has no name")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('["cat",\n "dog"', "broken JSON at line 2, column 7: mend it"),
        ("[" * 100_000, "broken JSON: give a list of names"),
        ('{"cat": ' + "9" * 5000 + "}", "broken JSON: give a list of names"),
    ],
)
def test_broken_json_is_refused(text: str, message: str) -> None:
    assert refusal(text, "a.json") == message
    assert refusal(text, "a.txt") == message


def test_what_is_no_text_is_refused_with_the_reason(tmp_path: Path) -> None:
    for empty in (b"", b" \n\n", b"\xef\xbb\xbf"):
        assert refusal(empty).startswith("the file is empty: give")
    assert refusal("cat\nhund\u00e9".encode("latin-1")).startswith("not UTF-8: give")
    assert refusal("cat".encode("utf-16")).startswith("not UTF-8: give")
    os.mkfifo("pipe")  # opening it would wait for a writer for ever
    for name, reason in [("gone", "no such file"), ("pipe", "not a regular file"), ("a\0b", "no such file")]:
        with pytest.raises(RequestError, match=f"{name}: {reason}: give"):
            labels.read(Path(name))


def test_a_huge_file_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "huge.txt"
    with path.open("wb") as file:
        file.truncate(50_000_001)
    with pytest.raises(RequestError, match=r"huge\.txt: larger than 50 MB: give"):
        labels.read(path)


def test_a_folder_is_read_as_torchvisions_image_folder(tmp_path: Path) -> None:
    for name in ["dog", "Cat", "10", "9", ".hidden", "fish tank", "élan"]:
        (tmp_path / "train" / name).mkdir(parents=True)
    (tmp_path / "train" / "notes.txt").write_text("no class")
    (tmp_path / "train" / "linked").symlink_to(tmp_path / "train" / "dog")
    names = labels.read(tmp_path / "train")
    assert names == (".hidden", "10", "9", "Cat", "dog", "fish tank", "linked", "élan")
    assert list(names) == find_classes(tmp_path / "train")[0]


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ([str(i) for i in range(1, 13)], "(1, 10, 11, 12, …); timm sorts them 1, 2, 3, 4, …"),
        (["Zebra", "ant", "bee"], "(Zebra, ant, bee, …); timm sorts them ant, bee, Zebra, …"),
        (["a", "class 9", "class 10"], "(a, class 10, class 9, …); timm sorts them a, class 9, class 10, …"),
        (["ant", "bee", "cup 1", "cup 2"], None),
        (["01", "02", "10"], None),
    ],
)
def test_where_timm_sorts_class_folders_otherwise_both_orders_are_said(names: list[str], said: str | None) -> None:
    for name in names:
        Path("train", name).mkdir(parents=True)
    about = labels.about_order(Path("train"))
    assert [said is not None and said in line for line in about] == [True] * (said is not None)
    Path("names.txt").touch()
    assert labels.about_order(Path("names.txt")) == []


def test_a_folder_without_sub_folders_is_refused(tmp_path: Path) -> None:
    (tmp_path / "flat").mkdir()
    (tmp_path / "flat" / "a.png").touch()
    with pytest.raises(RequestError, match=r"flat: no sub-folders: give a folder that has one per class"):
        labels.read(tmp_path / "flat")


@pytest.mark.parametrize(
    "mapping",
    [
        {"id2label": {0: "cat", 1: "dog", 2: "fish"}},
        {"state_dict": {"fc.weight": torch.zeros(3, 2)}, "epoch": 7, "class_to_idx": TO_ID},
        {"classes": PETS},
        {"labels": torch.arange(3), "names": list(PETS)},
        {"label_names": ["cat", ""], "names": list(PETS)},
        {"id2label": None, "label2id": TO_ID},
    ],
)
def test_names_are_found_in_what_a_checkpoint_says(mapping: dict[str, object]) -> None:
    assert labels.found_in(mapping) == PETS


@pytest.mark.parametrize(
    "mapping",
    [
        {},
        {"0": "cat"},  # not under a key: this could be anything
        {"classes": 1000},
        {"classes": []},
        {"names": {"a": 0, "b": 2}},
        {"labels": [0, 1]},
        {"labels": torch.arange(3)},
        {"idx_to_class": {0: {"name": "cat"}}},
        {"label_names": "cat"},
        {"label2id": {"cat": True, "dog": False}},
        {"names": {1.5: "cat", None: "dog"}},
    ],
)
def test_no_names_or_none_that_fit_are_nothing(mapping: dict[str, object]) -> None:
    assert labels.found_in(mapping) is None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3) | st.integers(0, 3), inner),
    max_leaves=8,
)


@pytest.mark.exhaustive
@settings(max_examples=100, deadline=None)
@given(value=json_values, key=st.sampled_from(labels.KEYS))
def test_anything_is_names_or_nothing(value: object, key: str) -> None:
    names = labels.found_in({key: value})
    assert names is None or (names and all(name and name == name.strip() for name in names))


def test_wordnet_ids_are_imagenets_1000_in_order() -> None:
    ids = labels.wordnet_ids()
    assert len(set(ids)) == len(ids) == 1000
    assert sorted(ids) == list(ids)
    assert (ids[0], ids[243], ids[999]) == ("n01440764", "n02108422", "n15075141")
    assert ids is labels.wordnet_ids()


def test_wordnet_ids_agree_with_photographs_of_every_fifth_class(shared: Path) -> None:
    photos = sorted(path.name for path in (shared / "images" / "imagenet200").glob("*.JPEG"))
    assert len(photos) == 200
    assert [photo.split("_")[0] for photo in photos] == list(labels.wordnet_ids()[::5])
    named = [photo.removesuffix(".JPEG").split("_", 1)[1].replace("_", " ") for photo in photos]
    assert sum(name.lower() == label.lower() for name, label in zip(named, CATEGORIES[::5], strict=True)) > 180


@pytest.mark.parametrize(("count", "expected"), [(0, ()), (1, ("class 0",)), (3, ("class 0", "class 1", "class 2"))])
def test_classes_without_names_are_numbered(count: int, expected: tuple[str, ...]) -> None:
    assert labels.numbered(count) == expected


def test_files_beside_weights_are_read_without_torch() -> None:
    code = "import sys; from camcli.models import labels, presets; labels.wordnet_ids(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.split() == ["False"]


def test_a_text_and_a_json_of_all_imagenet_names_agree() -> None:
    lines = "\n".join(f"{i}: {name}" for i, name in enumerate(CATEGORIES))
    assert names_in(lines) == names_in(json.dumps(CATEGORIES), "a.json") == tuple(CATEGORIES)
