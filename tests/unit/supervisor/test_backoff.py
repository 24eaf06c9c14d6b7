"""What keeps dying is started again with growing waits."""

from __future__ import annotations

from quasar.supervisor.backoff import Backoff


def test_waits_double_up_to_the_longest() -> None:
    backoff = Backoff(first_s=1.0, longest_s=10.0, stable_s=60.0)
    assert [backoff.after(0.1) for _ in range(6)] == [1.0, 2.0, 4.0, 8.0, 10.0, 10.0]


def test_a_process_that_stayed_up_begins_anew() -> None:
    backoff = Backoff(first_s=1.0, longest_s=10.0, stable_s=60.0)
    assert [backoff.after(0.1), backoff.after(0.1), backoff.after(60.0), backoff.after(0.1)] == [1.0, 2.0, 1.0, 2.0]


def test_waits_stay_bounded_for_ever() -> None:
    backoff = Backoff()
    assert {backoff.after(0.0) for _ in range(5000)} <= {*(0.2 * 2.0**n for n in range(8)), 30.0}
