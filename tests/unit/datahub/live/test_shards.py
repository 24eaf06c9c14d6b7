from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from datahub.live.shards import Spread, spread

_NAMES = st.sets(st.sampled_from("ABCDEFGHIJ"))


def test_one_connection_carries_everything_where_the_vendor_sets_no_limit() -> None:
    placed = spread("CAB", Spread(), room=0, most=1)
    assert placed.connections == 1
    assert placed.carried_by(0) == {"A", "B", "C"}
    assert not placed.beyond


def test_symbols_beyond_what_a_connection_carries_go_to_the_next_and_the_rest_is_told() -> None:
    placed = spread("ABCDE", Spread(), room=2, most=2)
    assert [placed.carried_by(0), placed.carried_by(1)] == [{"A", "B"}, {"C", "D"}]
    assert placed.beyond == {"E"}


def test_a_place_that_is_free_again_is_given_to_who_waits_and_nobody_moves() -> None:
    first = spread("ABCDE", Spread(), room=2, most=2)
    then = spread("BCDE", first, room=2, most=2)
    assert [then.carried_by(0), then.carried_by(1), then.beyond] == [{"B", "E"}, {"C", "D"}, frozenset()]
    assert spread("C", then, room=2, most=2).connections == 2


@given(_NAMES, _NAMES, st.integers(1, 4), st.integers(1, 3))
def test_no_connection_has_too_many_and_nobody_is_left_out_while_there_is_room(
    before: set[str], now: set[str], room: int, most: int
) -> None:
    former = spread(before, Spread(), room, most)
    placed = spread(now, former, room, most)
    carried = [placed.carried_by(number) for number in range(placed.connections)]
    assert placed.connections <= most
    assert all(len(symbols) <= room for symbols in carried)
    assert set().union(*carried) | placed.beyond == now
    assert len(placed.beyond) == max(0, len(now) - room * most)
    kept = {symbol for symbol in now if symbol in former.number_of}
    assert all(placed.number_of[symbol] == former.number_of[symbol] for symbol in kept)
