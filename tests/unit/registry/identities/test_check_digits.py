from __future__ import annotations

import json

import pytest

from registry.identities.check_digits import cusip_problem, figi_problem, identifier_kind, isin_problem
from tests.unit.recorded import recorded
from tests.unit.registry.recorded_identity import equities, index_members


def test_every_recorded_identifier_passes() -> None:
    rows = equities()
    for column in ("figi", "composite_figi", "shareclass_figi"):
        assert [row[column] for row in rows if row[column] and figi_problem(row[column])] == []
    assert [row["isin"] for row in rows if row["isin"] and isin_problem(row["isin"])] == []
    assert [row["cusip"] for row in rows if row["cusip"] and cusip_problem(row["cusip"])] == []


def test_every_figi_of_a_recorded_answer_passes() -> None:
    answer = json.loads(recorded("identity/openfigi_mapping_AAPL.json").read_text())
    figis = [
        row[name] for row in answer[0]["data"] for name in ("figi", "compositeFIGI", "shareClassFIGI") if row[name]
    ]
    assert len(figis) > 100
    assert [figi for figi in figis if figi_problem(figi)] == []


def test_every_isin_of_the_recorded_indices_passes() -> None:
    isins = [isin for members in index_members().values() for member in members for isin in member["isins"]]
    assert len(isins) > 400
    assert [isin for isin in isins if isin_problem(isin)] == []


def test_any_other_last_digit_is_refused_and_the_right_one_named() -> None:
    for right, problem in (
        ("BBG000B9XRY4", figi_problem),
        ("US0378331005", isin_problem),
        ("037833100", cusip_problem),
    ):
        for digit in "0123456789":
            told = problem(right[:-1] + digit)
            expected = None if digit == right[-1] else f"check digit must be {right[-1]}, was {digit}"
            assert told == expected


@pytest.mark.parametrize("text", ["", "BBG000B9XRY", "bbg000b9xry4", "BBH000B9XRY4", "GBG000B9XRY4", "BBG000A9XRY4"])
def test_what_has_not_the_form_of_a_figi_is_refused(text: str) -> None:
    assert figi_problem(text)


def test_an_identifier_is_told_by_its_form_and_digit() -> None:
    kinds = [identifier_kind(text) for text in ("BBG000B9XRY4", "US0378331005", "US0378331006", "XXBTZUSD")]
    assert kinds == ["figi", "isin", "", ""]
