"""An answer that comes late is never taken for that of another question."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from drivebay import LinkTimeoutError
from drivebay.driver import open_link
from lab import SOAK
from peers import LatePeer, StockReader, ask_all

pytestmark = pytest.mark.slow

QUESTIONS = 1000 * SOAK
SHARE = 0.05
TIMEOUT_S = 0.1


@pytest.fixture
def peer() -> Iterator[LatePeer]:
    with LatePeer(SHARE, seed=1000) as peer:
        yield peer


def test_of_a_thousand_questions_with_late_answers_none_gets_another_s(peer, figures):
    with open_link(peer.resource) as link:
        assert link.query("*IDN?") == LatePeer.IDENTITY

        def ask(question: str) -> str:
            return link.query(question, timeout_s=TIMEOUT_S)

        answered, missed, wrong = ask_all(ask, peer, QUESTIONS, LinkTimeoutError)

    assert wrong == []
    assert answered + missed == QUESTIONS
    assert missed >= len(peer.late) >= QUESTIONS * SHARE / 2
    figures["late answers: questions"] = f"{QUESTIONS}, {len(peer.late)} answered too late"
    figures["late answers: given to another question"] = str(len(wrong))


def test_control_the_stock_way_gives_them_to_other_questions(peer, figures):
    reader = StockReader(peer.port, TIMEOUT_S)

    answered, _, wrong = ask_all(reader.query, peer, 200, TimeoutError)
    reader.close()

    # From the first late answer on every one is that of the question before.
    assert len(wrong) > answered / 2
    figures["late answers: the stock way"] = f"{len(wrong)} of {answered} wrong"
