"""User ids in flat arrays, and the hash that finds them: any text, the same in every process."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.text_hashes import Texts, hash_of
from features.user_ids import UserIds

ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)  # NUL too, but no lone surrogate
ODD = [
    "",
    "\0",
    "\0\0",
    "a",
    "a\0",
    "用户",
    "é",
    "e\u0301",
    "12345678",
    "12345678\0",
    "0" * 1000,
    "😀" * 9,
    " a",
]


@given(st.lists(ANY_TEXT, unique=True, max_size=40), st.lists(ANY_TEXT, max_size=10))
def test_every_id_leads_to_its_number_and_no_other_text_to_any(user_ids, others):
    found = UserIds.of(user_ids)
    number_of = {user_id: number for number, user_id in enumerate(user_ids)}
    assert list(found) == user_ids and len(found) == len(user_ids)
    for text in [*user_ids, *others]:
        assert found.number_of(text) == number_of.get(text)
        assert (text in found) == (text in number_of)


@given(st.lists(ANY_TEXT, max_size=40))
def test_one_text_alone_has_the_hash_that_it_has_among_others(texts):
    assert Texts.of(texts).hashes().tolist() == [hash_of(text) for text in texts]


def test_odd_ids_are_told_apart():
    found = UserIds.of(ODD)
    assert [found.number_of(text) for text in ODD] == list(range(len(ODD)))
    assert [found[number] for number in range(len(ODD))] == ODD
    assert found[-1] == ODD[-1] and found[2:4] == tuple(ODD[2:4])
    with pytest.raises(IndexError):
        found[len(ODD)]


def test_a_lone_surrogate_is_nobodys_id():
    assert UserIds.of(["a", "\ufffd"]).number_of("\ud800") is None
    assert 7 not in UserIds.of(["7"])


def test_of_no_users_none_is_found():
    found = UserIds.of(pd.Series([], dtype="str"))
    assert len(found) == 0 and found.number_of("") is None and list(found) == []


def test_of_an_id_that_stands_there_twice_the_last_counts():
    assert UserIds.of(["a", "b", "a"]).number_of("a") == 2


def test_ids_of_one_hash_are_told_apart_by_their_text():
    texts = Texts.of(["ann", "bob", "eve"])
    same = np.full(3, hash_of("bob"), np.uint64)
    found = UserIds(texts, same, np.arange(3, dtype=np.int32))
    assert found.number_of("bob") == 1 and found.number_of("ann") is None


def test_a_column_that_was_cut_has_the_ids_that_are_left():
    column = pd.concat([pd.Series(["x", "ann"], dtype="str"), pd.Series(["bob", "y"], dtype="str")])[1:3]
    assert list(UserIds.of(column)) == ["ann", "bob"]


def test_two_hundred_thousand_ids_in_a_row_have_as_many_hashes():
    hashes = Texts.of([f"E{number:09d}" for number in range(200_000)]).hashes()
    assert len(np.unique(hashes)) == 200_000
    ones = np.unpackbits(hashes.view(np.uint8)).mean()
    assert ones == pytest.approx(0.5, abs=0.002)


def test_another_process_finds_the_same_hash():
    code = "from features.text_hashes import hash_of; print(hash_of('user-1'))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(told.stdout) == hash_of("user-1")
