from __future__ import annotations

import pytest

from registry.assets.groups import CRYPTO, SECURITIES
from registry.matching.candidates import Candidate, Subject, Target, exact, fuzzy
from registry.matching.decisions import (
    GAVE_WAY,
    NONE,
    PROPOSED,
    TAKEN,
    Claimant,
    Decision,
    Thresholds,
    decide,
    deduplicated,
)
from registry.matching.matcher import exact_candidates
from registry.matching.shortlist import Listed, Shortlists
from registry.matching.trigrams import similarity

USUAL = Thresholds()


def equity(symbol: str, exchange: str = "", name: str = "", **more: str) -> Subject:
    return Subject(1, SECURITIES, symbol, exchange, name, **more)


def identity(number: str, exchange: str = "", name: str = "", **more: str) -> Target:
    return Target(len(number) * 100 + ord(number[-1]), number, exchange, name, **more)


def exactly(subject: Subject, *targets: Target, alias: bool = False) -> Decision:
    return decide(subject, exact_candidates(subject, [(target, alias) for target in targets]), USUAL)


def alike(subject: Subject, symbol: str, target: Target) -> Decision:
    candidate = fuzzy(subject, target, similarity(subject.symbol, symbol))
    return decide(subject, [candidate] if candidate else [], USUAL)


def test_an_equal_symbol_on_the_same_exchange_is_sure() -> None:
    decision = exactly(equity("ABC", "XNYS"), identity("N", "XNYS"))
    assert decision.outcome == TAKEN
    assert decision.best is not None
    assert (decision.best.confidence, decision.best.method) == (100.0, "EXACT_SYMBOL")
    assert decision.best.reason == "symbol ABC and exchange XNYS are equal"


def test_the_listing_of_the_assets_own_exchange_is_taken() -> None:
    decision = exactly(equity("ABC", "XNYS"), identity("LONDON", "XLON"), identity("NEWYORK", "XNYS"))
    assert decision.outcome == TAKEN
    assert decision.best is not None
    assert decision.best.target.identity_id == "NEWYORK"


def test_another_exchange_alone_is_no_exact_match() -> None:
    assert exactly(equity("ABC", "XNYS"), identity("LONDON", "XLON")).outcome == NONE


def test_an_asset_without_an_exchange_and_two_listings_is_ambiguous() -> None:
    decision = exactly(equity("ABC"), identity("LONDON", "XLON"), identity("NEWYORK", "XNYS"))
    assert (decision.outcome, decision.cause) == (PROPOSED, "AMBIGUOUS")
    assert decision.runner_up is not None


def test_names_decide_between_two_listings_where_the_exchange_is_not_known() -> None:
    decision = exactly(
        equity("ABC", name="alpha beta corp"),
        identity("LONDON", "XLON", "other things plc"),
        identity("NEWYORK", "XNYS", "alpha beta corporation"),
    )
    assert decision.outcome == TAKEN
    assert decision.best is not None
    assert decision.best.target.identity_id == "NEWYORK"


@pytest.mark.parametrize(
    ("subject", "target"),
    [
        (equity("ABC", name="alpha beta corp"), identity("N", "XNYS", "wholly different plc")),
        (
            equity("ABC", name="alpha", currency="EUR", country="DE"),
            identity("N", "XNYS", "alpha", currency="USD", country="US"),
        ),
    ],
)
def test_what_speaks_against_an_equal_symbol_makes_it_a_proposal(subject: Subject, target: Target) -> None:
    decision = exactly(subject, target)
    assert (decision.outcome, decision.cause) == (PROPOSED, "CONTRADICTION")


def test_crypto_pairs_are_identified_by_their_base_on_any_venue() -> None:
    pair = Subject(1, CRYPTO, "BTC", "KRKN", "bitcoin / us dollar")
    decision = exactly(pair, Target(1, "KKG00000DV14", "", "bitcoin"))
    assert decision.outcome == TAKEN


def test_an_alias_is_as_good_as_the_symbol() -> None:
    decision = exactly(Subject(1, CRYPTO, "XBT"), Target(1, "KKG00000DV14"), alias=True)
    assert decision.outcome == TAKEN
    assert decision.best is not None
    assert decision.best.method == "EXACT_ALIAS"


def test_a_like_symbol_with_the_same_exchange_and_name_scores_103() -> None:
    subject = equity("ABCDEFGHI", "XNYS", "alpha beta corp")
    decision = alike(subject, "ABCDEFGH", identity("N", "XNYS", "alpha beta corp"))
    assert decision.outcome == TAKEN
    assert decision.best is not None
    assert decision.best.score is not None
    assert decision.best.score.total == pytest.approx(103.0)
    assert (decision.best.method, decision.best.confidence) == ("FUZZY_SYMBOL", 100.0)


def test_a_like_symbol_on_another_exchange_is_never_taken() -> None:
    subject = equity("ABCDEFGHI", "XNAS", "alpha beta corp")
    assert alike(subject, "ABCDEFGH", identity("N", "XNYS", "alpha beta corp")).outcome != TAKEN


def test_a_like_symbol_with_an_unlike_name_is_not_taken() -> None:
    subject = equity("ABCDEFGHIJ", "XNYS", "gamma delta holdings")
    decision = alike(subject, "ABCDEFGHI", identity("N", "XNYS", "alpha beta corp"))
    assert (decision.outcome, decision.cause) == (PROPOSED, "CONTRADICTION")


def test_a_like_symbol_is_no_proof_while_a_name_is_not_known() -> None:
    decision = alike(equity("ABCDEFGHI", "XNYS"), "ABCDEFGH", identity("N", "XNYS", "alpha beta corp"))
    assert (decision.outcome, decision.cause) == (PROPOSED, "LOW_CONFIDENCE")


def test_below_the_floor_of_proposals_there_is_nothing() -> None:
    assert alike(equity("ABCD"), "ABXY", identity("N")).outcome == NONE


def test_a_runner_up_within_the_margin_makes_a_match_ambiguous() -> None:
    subject = equity("ABCDEFGHI", "XNYS", "alpha beta corp")
    candidates = [
        fuzzy(subject, identity(number, "XNYS", "alpha beta corp"), similarity("ABCDEFGHI", symbol))
        for number, symbol in (("FIRST", "ABCDEFGH"), ("SECOND", "ABCDEFGHJ"))
    ]
    decision = decide(subject, [each for each in candidates if each], USUAL)
    assert (decision.outcome, decision.cause) == (PROPOSED, "AMBIGUOUS")


def test_rows_of_one_identity_do_not_compete_with_each_other() -> None:
    first = exact(equity("ABC", "XNYS"), Target(1, "N", "XNYS"), alias=False, contested=False)
    second = exact(equity("ABC", "XNYS"), Target(2, "N", "XNYS"), alias=True, contested=False)
    decision = decide(equity("ABC", "XNYS"), [each for each in (first, second) if each], USUAL)
    assert (decision.outcome, decision.runner_up) == (TAKEN, None)


def taken(asset_id: int, number: str) -> Decision:
    return Decision(asset_id, TAKEN, Candidate(Target(1, number), "EXACT_SYMBOL", 100, 100, ""))


def survivors(symbols: list[str], *, group: str = SECURITIES, holder: Claimant | None = None) -> dict[str, str]:
    claimants = {i: Claimant(i, 7, symbol) for i, symbol in enumerate(symbols)}
    held = {(7, "N"): holder} if holder else {}
    settled = deduplicated([taken(i, "N") for i in claimants], claimants, dict.fromkeys(claimants, group), held)
    return {symbols[each.asset_id]: each.outcome for each in settled}


@pytest.mark.parametrize(("symbols", "kept"), [(["MS-A", "MS", "MS-B"], "MS"), (["CCC", "AAA", "BBB"], "AAA")])
def test_the_shorter_symbol_then_the_first_in_the_alphabet_keeps_a_security(symbols: list[str], kept: str) -> None:
    outcomes = survivors(symbols)
    assert [symbol for symbol, outcome in outcomes.items() if outcome == TAKEN] == [kept]
    assert list(outcomes.values()).count(GAVE_WAY) == len(symbols) - 1


def test_crypto_pairs_share_an_identity() -> None:
    assert set(survivors(["XBTUSD", "XBTUSDC"], group=CRYPTO).values()) == {TAKEN}


def test_one_identity_on_two_sources_belongs_to_an_asset_of_each() -> None:
    claimants = {1: Claimant(1, 7, "A"), 2: Claimant(2, 8, "A")}
    settled = deduplicated([taken(1, "N"), taken(2, "N")], claimants, {1: SECURITIES, 2: SECURITIES}, {})
    assert [each.outcome for each in settled] == [TAKEN, TAKEN]


def test_a_better_claim_to_an_identity_that_another_asset_has_is_a_proposal() -> None:
    assert survivors(["MS"], holder=Claimant(99, 7, "MS-A")) == {"MS": PROPOSED}
    assert survivors(["MS-A"], holder=Claimant(99, 7, "MS")) == {"MS-A": GAVE_WAY}


def test_the_shortlist_has_the_best_twenty_whatever_the_order_of_the_rows() -> None:
    listed = [Listed(row, "ABCDEFGH", "XNYS" if row == 77 else f"X{row:03}") for row in range(100)]
    first = Shortlists(listed).of(equity("ABCDEFGHI", "XNYS"), 50)
    again = Shortlists(listed[::-1]).of(equity("ABCDEFGHI", "XNYS"), 50)
    assert first == again
    assert len(first) == 20
    assert first[0][0] == 77
