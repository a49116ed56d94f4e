from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.models import ResNet18_Weights

from camcli.errors import RequestError
from camcli.questions.classes import AllOf, ClassId, OfFolder, Selector, TopN, matching, parse, select
from camcli.tasks.classify import ClassPrediction

LABELS: list[str] = ResNet18_Weights.DEFAULT.meta["categories"]


def parsed(text: str) -> Selector:
    (selector,) = parse([text], LABELS, "resnet18")
    return selector


def refusal(text: str) -> str:
    with pytest.raises(RequestError) as caught:
        parse(["0", text], LABELS, "resnet18")
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "class_id"), [("0", 0), ("243", 243), ("999", 999), ("+7", 7), ("007", 7), (" 5 ", 5)]
)
def test_an_id_is_itself(text: str, class_id: int) -> None:
    assert parsed(text) == ClassId(class_id)


@pytest.mark.parametrize(("text", "number"), [("-1", "-1"), ("1000", "1000"), ("5000", "5000"), ("-0001", "-1")])
def test_an_id_outside_the_model_names_both_numbers(text: str, number: str) -> None:
    assert refusal(text) == f"class {number} is outside 0-999: resnet18 has 1000 classes"


def test_ids_count_from_0_as_torchvisions_do() -> None:
    """The paper's Lua code counts from 1: its 243 is the boxer, torchvision's the bull mastiff."""
    assert (LABELS[242], LABELS[243]) == ("boxer", "bull mastiff")
    assert parsed("boxer") == ClassId(242)
    assert parsed("bull mastiff") == ClassId(243)


@pytest.mark.parametrize(
    ("text", "class_id"),
    [
        ("tabby", 281),
        ("crane", 517),  # not 134, "crane bird"
        ("tiger", 292),  # not tiger shark, tiger cat, tiger beetle
        ("ox", 345),  # not boxer, red fox, mailbox
        ("TIGER cat", 282),
        ("  Boxer ", 242),
        ("tibetan mas", 244),
    ],
)
def test_a_name_beats_the_names_it_is_part_of(text: str, class_id: int) -> None:
    assert parsed(text) == ClassId(class_id)


def test_every_label_typed_in_full_is_its_own_class() -> None:
    assert parse(LABELS, LABELS, "resnet18") == [ClassId(i) for i in range(1000)]


@pytest.mark.parametrize(("text", "class_id"), [("Cardigan", 264), ("cardigan", 474)])
def test_names_that_differ_by_case_alone_are_two_classes(text: str, class_id: int) -> None:
    """ImageNet has the dog "Cardigan" and the garment "cardigan"."""
    assert parsed(text) == ClassId(class_id)
    assert "264 Cardigan, 474 cardigan" in refusal("CARDIGAN")


def test_whole_words_come_before_parts_of_words() -> None:
    """Five labels hold "cat" as a word; oystercatcher, polecat and catamaran hold it as letters only."""
    assert [LABELS[i] for i in matching("cat", LABELS)] == [
        *("tiger cat", "Persian cat", "Siamese cat", "Egyptian cat", "Madagascar cat")
    ]
    assert [LABELS[i] for i in matching("catam", LABELS)] == ["catamaran"]
    assert matching("CAT", LABELS) == matching("cat", LABELS)
    assert [LABELS[i] for i in matching("jack-o'", LABELS)] == ["jack-o'-lantern"]
    assert matching("(", LABELS) == matching("no such thing", LABELS) == []


def test_an_ambiguous_part_lists_its_matches_with_their_ids() -> None:
    message = refusal("mastiff")
    assert message == "class 'mastiff' could be 243 bull mastiff, 244 Tibetan mastiff: give an id or the whole name"
    many = refusal("terrier")
    assert many.count("terrier,") == 11
    assert " and 6 more: give an id" in many  # 18 of them hold the word


@pytest.mark.parametrize(
    ("text", "near"), [("taby", "tabby"), ("bul mastif", "bull mastiff"), ("Gold fish", "goldfish")]
)
def test_an_unknown_name_suggests_near_ones(text: str, near: str) -> None:
    message = refusal(text)
    assert message.startswith(f"unknown class {text!r}: did you mean {near}")
    assert message.count(" or ") <= 2
    assert message.endswith("`camcli classes resnet18` lists them all")


def test_a_name_like_no_other_is_sent_to_the_listing() -> None:
    assert refusal("zzzzzz") == "unknown class 'zzzzzz': `camcli classes resnet18` lists them all"
    assert refusal("").startswith("unknown class ''")


@pytest.mark.parametrize(("text", "n"), [("top1", 1), ("top5", 5), ("TOP3", 3), ("top1000", 1000)])
def test_the_n_best(text: str, n: int) -> None:
    assert parsed(text) == TopN(n)


@pytest.mark.parametrize("text", ["top0", "top1001", "top00"])
def test_more_than_all_or_none_of_the_classes_is_refused(text: str) -> None:
    assert refusal(text) == f"{text}: resnet18 has 1000 classes, so top1 to top1000"


NUMBERS = ["1", "10", "11", "12", "2", "3"]


@pytest.mark.parametrize(
    ("text", "class_id"),
    [
        ("12", 3),  # no id is 12
        ("11", 2),
        ("0", 0),  # no class is called 0
        *[("id:2", 2), ("name:2", 4), ("ID: 4", 4), ("Name: 12", 3), ("id:+3", 3)],
    ],
)
def test_a_number_that_can_be_read_one_way_only_is_read_so(text: str, class_id: int) -> None:
    assert parse([text], NUMBERS, "mine") == [ClassId(class_id)]


@pytest.mark.parametrize(("text", "own", "id_of"), [("1", 0, "10"), ("2", 4, "11"), ("3", 5, "12"), ("03", 5, "12")])
def test_a_number_that_is_two_classes_is_neither(text: str, own: int, id_of: str) -> None:
    number = NUMBERS[own]
    with pytest.raises(RequestError) as caught:
        parse([text], NUMBERS, "mine")
    assert str(caught.value) == (
        f"class {text} is the name of id {own}, and id {int(text)} is called {id_of!r}: "
        f"say name:{number} or id:{int(text)}"
    )
    assert parse([f"name:{number}"], NUMBERS, "mine") == [ClassId(own)]


def test_a_number_that_is_one_class_by_name_and_id_is_that_one() -> None:
    digits = [str(i) for i in range(10)]
    assert parse(digits, digits, "mine") == [ClassId(i) for i in range(10)]
    assert parse(["1"], ["0 star", "1", "2 stars"], "mine") == [ClassId(1)]


def test_negative_numbers_can_be_names_too() -> None:
    feelings = ["-1", "0", "1"]
    assert parse(["-1"], feelings, "mine") == [ClassId(0)]
    for both in ("0", "1"):
        with pytest.raises(RequestError, match="is the name of id"):
            parse([both], feelings, "mine")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("id:6", "class 6 is outside 0-5: mine has 6 classes"),
        ("id:two", "class id:two is no id: give a number from 0 to 5"),
        ("name:5", "unknown class '5': the classes are 1, 10, 11, 12, 2, 3"),
        ("13", "class 13 is outside 0-5"),
        ("9" * 5000, "unknown class '999"),
    ],
)
def test_what_is_forced_and_is_not_there_is_refused(text: str, said: str) -> None:
    with pytest.raises(RequestError) as caught:
        parse([text], NUMBERS, "mine")
    assert str(caught.value).startswith(said)


def test_few_names_are_said_in_full_and_many_by_the_words_that_list_them() -> None:
    with pytest.raises(RequestError) as caught:
        parse(["elk"], ["ant", "bee", "cup"], "mine")
    assert str(caught.value) == "unknown class 'elk': the classes are ant, bee, cup"
    with pytest.raises(RequestError, match=r"`camcli classes resnet18 -w a\.pth` lists them all"):
        parse(["zzzzzz"], LABELS, "resnet18", "resnet18 -w a.pth")


def test_a_model_of_one_class() -> None:
    assert parse(["0", "top1", "leaf"], ["leaf"], "mine") == [ClassId(0), TopN(1), ClassId(0)]
    with pytest.raises(RequestError, match=r"class 1 is outside 0-0: mine has 1 classes"):
        parse(["1"], ["leaf"], "mine")


def ranked(ids: list[int]) -> ClassPrediction:
    return ClassPrediction([], ids, np.zeros(0, dtype=np.float32), None)


def test_selection_keeps_the_order_asked_for_and_each_class_once() -> None:
    ranking = ranked([8, 3, 5, 1])
    assert select([TopN(1)], ranking) == [8]
    assert select([ClassId(1), TopN(2), ClassId(8)], ranking) == [1, 8, 3]
    assert select([TopN(3), TopN(2), ClassId(5)], ranking) == [8, 3, 5]
    assert select([ClassId(99)], ranking) == [99]  # an id need not be among the best
    assert select([], ranking) == []


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=12))
def test_any_text_is_a_selector_of_this_model_or_a_refusal(text: str) -> None:
    try:
        selector = parsed(text)
    except RequestError:
        return
    if not isinstance(selector, OfFolder):
        if isinstance(selector, (ClassId, AllOf)):
            assert 0 <= selector.id < 1000
        elif isinstance(selector, TopN):
            assert 1 <= selector.n <= 1000
