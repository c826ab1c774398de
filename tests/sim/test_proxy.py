"""The fault proxy: each fault is what it says, and without one nothing changes."""

import json
import random
import socket
import subprocess
import sys
import threading
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivebay.sim.faults import KINDS, AnswerFramer, Sizes, garbled, scripted, seeded
from drivebay.sim.proxy import FaultProxy, address_of, parser, proxy_of, share

# Longer than any test: what waits so long has to be ended by the end of the proxy.
NEVER_S = 3600.0


@pytest.fixture
def behind(bench):
    """behind(schedule, **options) -> (proxy, socket to it): a simulated 2400 behind a proxy."""
    opened = []

    def started(schedule=(), **options):
        server, _ = bench()
        proxy = FaultProxy(server.resource, schedule, **options).start()
        client = socket.create_connection(("127.0.0.1", proxy.port), timeout=20)
        opened.append((proxy, client))
        return proxy, client

    yield started
    for proxy, client in opened:
        proxy.stop()
        client.close()


def ask(client, text, answers=1):
    client.sendall(text.encode() + b"\n")
    with client.makefile("rb") as stream:
        return b"".join(stream.readline() for _ in range(answers))


def nothing_more(client, *, within_s=0.05):
    client.settimeout(within_s)
    try:
        return client.recv(100) is None
    except TimeoutError:
        return True
    finally:
        client.settimeout(20)


def test_without_a_fault_every_byte_passes(behind):
    proxy, client = behind()

    answer = ask(client, ":SENS:CURR:PROT 0.1;:OUTP ON;:TRIG:COUN 500;:READ?")

    assert answer.count(b",") == 500 * 5 - 1
    assert proxy.log.named("fault") == []
    assert proxy.answers == 1


def test_a_binary_block_with_newlines_in_it_is_one_answer(behind):
    _, client = behind()

    client.sendall(b":OUTP ON;:FORM REAL,32;:FORM:ELEM CURR;:TRIG:COUN 100;:READ?\n")
    with client.makefile("rb") as stream:
        block = stream.read(2 + 400 + 1)

    assert block.startswith(b"#0")
    assert block.endswith(b"\n")


def test_a_dropped_answer_never_comes_and_the_next_one_does(behind):
    proxy, client = behind("drop")

    client.sendall(b"*IDN?\n")
    proxy.log.wait_for("fault")

    assert ask(client, "*OPC?") == b"1\n"


def test_a_truncated_answer_has_no_end(behind):
    proxy, client = behind("truncate")

    client.sendall(b"*IDN?\n")
    proxy.log.wait_for("fault")

    # What is cut off is missing, so the next answer follows where no terminator was.
    answer = ask(client, "*OPC?")
    assert answer.startswith(b"KEITHLEY")
    assert answer.endswith(b"1\n")
    assert b"A02" not in answer


def test_garbage_keeps_length_and_end_and_is_not_the_answer(behind):
    _, client = behind("garbage, ok")

    spoilt, whole = ask(client, "*IDN?"), ask(client, "*IDN?")

    assert len(spoilt) == len(whole)
    assert spoilt != whole


def test_a_late_answer_is_held_back_and_an_abort_overtakes_it(behind):
    proxy, client = behind("late", sizes=Sizes(late_s=NEVER_S))

    client.sendall(b"*IDN?\n")
    proxy.log.wait_for("fault")

    assert nothing_more(client)
    client.sendall(b":OUTP ON\n")
    # The other direction is open: the command reached the instrument while the answer waits.
    with socket.create_connection(proxy.to, timeout=20) as direct:
        while ask(direct, ":OUTP?") != b"1\n":
            pass


def test_a_late_answer_comes_whole(behind):
    proxy, client = behind("late", sizes=Sizes(late_s=0.01))

    assert ask(client, "*OPC?") == b"1\n"
    assert len(proxy.log.named("fault")) == 1


def test_a_busy_instrument_does_not_read_either(behind):
    proxy, client = behind("busy", sizes=Sizes(busy_s=NEVER_S))
    client.sendall(b"*IDN?\n")
    proxy.log.wait_for("fault")

    client.sendall(b":OUTP ON\n")

    assert nothing_more(client)
    with socket.create_connection(proxy.to, timeout=20) as direct:
        assert ask(direct, ":OUTP?") == b"0\n"


def test_a_dripping_answer_comes_in_pieces_and_whole(behind):
    _, client = behind("drip", sizes=Sizes(drip_bytes=3, drip_s=0.001))

    assert ask(client, "*IDN?").startswith(b"KEITHLEY INSTRUMENTS INC.,MODEL 2400,")


def test_a_cut_connection_is_reset_and_a_new_one_works(behind):
    proxy, client = behind("cut")

    client.sendall(b"*IDN?\n")

    with pytest.raises(ConnectionResetError), client.makefile("rb") as stream:
        stream.read()
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=20) as again:
        assert ask(again, "*OPC?") == b"1\n"


def test_of_two_connections_only_one_is_let_in_if_told_so(behind):
    proxy, client = behind(single_connection=True)
    assert ask(client, "*OPC?") == b"1\n"

    with (
        pytest.raises(ConnectionResetError),
        socket.create_connection(("127.0.0.1", proxy.port), timeout=20) as second,
    ):
        second.recv(1)

    proxy.log.wait_for("connection_refused")
    assert ask(client, "*OPC?") == b"1\n"


def test_without_an_instrument_behind_it_nobody_is_let_in():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        gone = taken.getsockname()[1]
    with FaultProxy(f"127.0.0.1:{gone}") as proxy:
        with (
            pytest.raises(ConnectionResetError),
            socket.create_connection(("127.0.0.1", proxy.port), timeout=20) as client,
        ):
            client.recv(1)

        proxy.log.wait_for("connection_refused")


def test_the_end_of_the_proxy_ends_every_thread_of_it(behind):
    before = set(threading.enumerate())
    proxy, client = behind("late", sizes=Sizes(late_s=NEVER_S))
    client.sendall(b"*IDN?\n")
    proxy.log.wait_for("fault")

    proxy.stop()

    assert not [each for each in set(threading.enumerate()) - before if each.name == "proxy"]


def test_an_instrument_that_leaves_takes_the_client_with_it(bench):
    server, _ = bench()
    with (
        FaultProxy(server.resource) as proxy,
        socket.create_connection(("127.0.0.1", proxy.port), timeout=20) as client,
    ):
        assert ask(client, "*OPC?") == b"1\n"

        server.drop_connections()

        assert client.recv(1) == b""


def test_the_same_seed_gives_the_same_faults():
    shares = {"late": 0.2, "drop": 0.1}

    one, two, other = (list(islice(seeded(shares, seed), 200)) for seed in (7, 7, 8))

    assert one == two != other
    assert 20 < one.count("late") < 60
    assert set(one) == {"ok", "late", "drop"}


@pytest.mark.parametrize(
    ("made", "text"),
    [
        (lambda: seeded({"explode": 0.1}, 0), "no fault 'explode'"),
        (lambda: seeded({"late": 0.7, "drop": 0.7}, 0), "at most 1"),
        (lambda: scripted("ok, explode"), "no fault 'explode'"),
        (lambda: scripted("late**2"), "no word of a script"),
        (lambda: Sizes(late_s=-1), "late_s"),
        (lambda: Sizes(drip_bytes=0), "drip_bytes"),
        (lambda: Sizes(garbage_share=2), "garbage_share"),
        (lambda: address_of("nowhere"), "no address"),
        (lambda: FaultProxy("GPIB0::4::INSTR"), "no address"),
        (lambda: share("150%"), "0% to 100%"),
        (
            lambda: proxy_of(
                parser().parse_args(["--to", "h:1", "--script", "ok", "--late", "1%"])
            ),
            "not both",
        ),
    ],
)
def test_what_cannot_be_is_refused(made, text):
    with pytest.raises(ValueError, match=text):
        made()


def test_every_kind_of_fault_is_carried_out_by_the_proxy(behind):
    quick = Sizes(late_s=0.001, drip_s=0.0, busy_s=0.001)
    proxy, client = behind([kind for kind in KINDS if kind != "cut"] + ["cut"], sizes=quick)

    client.sendall(b"*OPC?\n" * len(KINDS))

    assert [proxy.log.wait_for("fault", k + 1)["kind"] for k in range(len(KINDS))][-1] == "cut"


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=30).map(lambda body: b"#2%02d" % len(body) + body),
            st.text("0123456789,.+-E ", max_size=30).map(str.encode),
        ),
        min_size=1,
        max_size=6,
    ),
    st.integers(1, 40),
)
def test_answers_are_found_however_they_are_cut_into_pieces(answers, piece):
    stream = b"".join(answer + b"\n" for answer in answers)
    framer = AnswerFramer()

    found = [
        answer
        for first in range(0, len(stream), piece)
        for answer in framer.feed(stream[first : first + piece])
    ]

    assert found == [answer + b"\n" for answer in answers]
    assert framer.take_rest() == b""


@given(st.binary(min_size=1, max_size=50).filter(lambda body: not set(body) & {10, 13}))
def test_garbled_is_never_the_same_and_never_ends_early(body):
    spoilt = garbled(body + b"\n", 0.2, random.Random(1))

    assert spoilt != body + b"\n"
    assert spoilt.index(b"\n") == len(body)


def test_the_command_line_says_where_it_listens_and_stops_with_its_input(bench):
    server, _ = bench()
    words = ["--to", f"127.0.0.1:{server.port}", "--drop", "100%", "--seed", "3"]
    running = subprocess.Popen(
        [sys.executable, "-m", "drivebay.sim.proxy", *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    ready = json.loads(running.stdout.readline())

    with socket.create_connection(("127.0.0.1", ready["port"]), timeout=20) as client:
        client.sendall(b"*IDN?\n")
        assert nothing_more(client)
    running.communicate("", timeout=60)

    assert running.returncode == 0
    assert ready["to"] == f"127.0.0.1:{server.port}"
