"""The address grammar: what it repairs, and the code of each refusal."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from drivebay._core.errors import ResourceError
from drivebay._core.links import Resource, parse_resource

CANONICAL = [
    "TCPIP::192.168.1.5::5025::SOCKET",
    "TCPIP::localhost::5025::SOCKET",
    "TCPIP::127.0.0.1::1::SOCKET",
    "TCPIP::k2400.lab.example::65535::SOCKET",
    "TCPIP::[fe80::1]::5025::SOCKET",
    "TCPIP2::10.0.0.1::5025::SOCKET",
    "TCPIP0::192.168.1.5::inst0::INSTR",
    "TCPIP0::192.168.1.5::hislip0::INSTR",
    "TCPIP0::192.168.1.5::hislip0,4880::INSTR",
    "TCPIP0::127.0.0.1,40123::inst0::INSTR",
    "TCPIP0::gateway::gpib0,24::INSTR",
    "USB0::0x05E6::0x2450::01234567::INSTR",
    "USB0::0x05E6::0x2450::01234567::1::INSTR",
    "GPIB0::24::INSTR",
    "GPIB1::5::2::INSTR",
    "ASRL1::INSTR",
    "ASRLCOM3::INSTR",
    "ASRL/dev/ttyUSB0::INSTR",
    "ASRL/dev/pts/7::INSTR",
    "ASRL/dev/cu.usbserial-A1::INSTR",
    "ASRL/dev/serial/by-id/usb-FTDI_FT232R-if00-port0::INSTR",
]


@pytest.mark.parametrize("text", CANONICAL)
def test_a_canonical_address_is_its_own_spelling(text: str):
    assert parse_resource(text).text == text
    assert str(parse_resource(text)) == text


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        (" tcpip0::LOCALHOST::5025::socket\n", "TCPIP::localhost::5025::SOCKET"),
        ("TCPIP0::10.0.0.7::05025::SOCKET", "TCPIP::10.0.0.7::5025::SOCKET"),
        ("tcpip :: 10.0.0.7 :: 5025 :: Socket", "TCPIP::10.0.0.7::5025::SOCKET"),
        ("TCPIP::10.0.0.7", "TCPIP0::10.0.0.7::inst0::INSTR"),
        ("TCPIP::10.0.0.7::INSTR", "TCPIP0::10.0.0.7::inst0::INSTR"),
        ("tcpip::10.0.0.7::HiSLIP0", "TCPIP0::10.0.0.7::hislip0::INSTR"),
        ("TCPIP::host.lab.::5025::SOCKET", "TCPIP::host.lab::5025::SOCKET"),
        ("TCPIP::[FE80:0:0::1]::5025::SOCKET", "TCPIP::[fe80::1]::5025::SOCKET"),
        ("gpib::24", "GPIB0::24::INSTR"),
        ("GPIB0::07::instr", "GPIB0::7::INSTR"),
        ("usb::1510::9296::sn1::0::instr", "USB0::0x05E6::0x2450::sn1::INSTR"),
        ("usb0::0X5e6::0x2450::SN1", "USB0::0x05E6::0x2450::SN1::INSTR"),
        ("asrl01", "ASRL1::INSTR"),
        ("ASRLcom3::instr", "ASRLCOM3::INSTR"),
        ("asrl/dev/ttyS0::INSTR", "ASRL/dev/ttyS0::INSTR"),
    ],
)
def test_case_blanks_and_what_may_be_left_out_are_repaired(text: str, canonical: str):
    assert parse_resource(text).text == canonical


def test_the_parts_of_an_address_are_told_apart():
    socket = parse_resource("TCPIP::[::1]::5025::SOCKET")
    usb = parse_resource("USB1::0x05E6::0x2450::SN1::INSTR")

    assert socket == Resource("TCPIP::[::1]::5025::SOCKET", "socket", 0, "::1", 5025)
    assert (usb.interface, usb.board, usb.device) == ("usb", 1, "SN1")
    assert parse_resource("GPIB::3").interface == "gpib"
    assert parse_resource("ASRL/dev/ttyS0").device == "/dev/ttyS0"
    assert parse_resource("TCPIP::a::hislip0").interface == "tcpip"


REFUSED = {
    "V001": [
        "",
        "   ",
        "not_a_resource",
        "http://10.0.0.1/",
        "TCPIP",
        "TCPIP::",
        "TCPIP::10.0.0.1::5025",
        "TCPIP::SOCKET",
        "TCPIP::10.0.0.1::5025::1::SOCKET",
        "TCPIPx::10.0.0.1::5025::SOCKET",
        "TCPIP::a b::5025::SOCKET",
        "TCPIP::-host::5025::SOCKET",
        "TCPIP::user@host::5025::SOCKET",
        "TCPIP::[::g]::5025::SOCKET",
        "TCPIP::[::1::5025::SOCKET",
        "GPIB0::INTFC",
        "GPIB0::1::2::3::INSTR",
        "USB0::0x1::0x2::INSTR",
        "PXI0::1::INSTR",
        "ASRL1::SOCKET",
    ],
    "V002": [
        f"TCPIP::10.0.0.1::{port}::SOCKET"
        for port in ("0", "70000", "65536", "abc", "-1", "", "5025.0", "999999999999")
    ]
    + ["TCPIP::10.0.0.1::hislip0,0::INSTR", "TCPIP::10.0.0.1,99999::inst0::INSTR"],
    "V004": [
        "TCPIP::10.0.0.1\x00::5025::SOCKET",
        "TCPIP::10.0.0.1\n::5025::SOCKET",
        "TCPIP::10.0.0.1::5025::SOCKET\x7f",
        "TCPIP::gerät::5025::SOCKET",
        "GPIB0::24::INSTR\N{ROCKET}",
        "GPIB\N{ARABIC-INDIC DIGIT ONE}::24::INSTR",
    ],
    "V005": ["A" * 257, "TCPIP::" + "a" * 5000 + "::5025::SOCKET", " " * 5000],
    "V006": [
        f"TCPIP::{host}::5025::SOCKET"
        for host in (
            "127.1",
            "0x7f000001",
            "0x7F.1",
            "2130706433",
            "0.0.0.0",
            "0",
            "0177.0.0.1",
            "127.000.000.001",
            "1.2.3.4.5",
            "256.1.1.1",
            "host.1",
            "[::ffff:127.0.0.1]",
            "[::]",
        )
    ]
    + ["TCPIP::127.1::inst0::INSTR"],
    "V008": [
        f"ASRL{url}::INSTR"
        for url in (
            "spy:///dev/ttyS0?file=/tmp/x",
            "socket://10.0.0.1:80",
            "loop://",
            "hwgrep://0403",
            "alt:///dev/ttyS0?class=PosixPollSerial",
            "rfc2217://10.0.0.1:80",
            "SPY://x",
        )
    ],
    "V009": [
        f"ASRL{port}::INSTR"
        for port in (
            "",
            "/etc/passwd",
            "/dev/../etc/hostname",
            "/dev/tty../../etc/passwd",
            "/dev/serial/by-id/..",
            "/dev/mem",
            "/dev/ttyS0/../mem",
            "dev/ttyS0",
            "C:\\x",
            "COM",
            "COM1234",
            "1234",
        )
    ],
    "V011": ["GPIB0::31::INSTR", "GPIB0::99::INSTR", "GPIB0::5::31::INSTR", "GPIB::1000"],
    "V012": ["TCPIP::[::1]::inst0::INSTR", "TCPIP::[fe80::1]::hislip0::INSTR"],
    "V014": [
        "USB0::0x10000::0x2450::SN::INSTR",
        "USB0::99999::0x2450::SN::INSTR",
        "USB0::05G6::0x2450::SN::INSTR",
        "USB0::0x05E6::0x2450::S?N::INSTR",
        "USB0::0x05E6::0x2450::SN::256::INSTR",
    ],
    "V015": ["TCPIP::10.0.0.1::inst::INSTR", "TCPIP::10.0.0.1::../x::INSTR"],
}


@pytest.mark.parametrize(("code", "text"), [(c, t) for c, texts in REFUSED.items() for t in texts])
def test_each_refusal_has_its_own_code(code: str, text: str):
    with pytest.raises(ResourceError) as caught:
        parse_resource(text)

    assert caught.value.problem.code == code
    assert str(caught.value).startswith(f"{code} ")
    assert len(str(caught.value)) < 600
    assert len(caught.value.resource) <= 256


def test_a_host_the_caller_does_not_allow_is_refused():
    def private(host: str) -> bool:
        return host.startswith("10.")

    assert parse_resource("TCPIP::10.0.0.1::5025::SOCKET", allow_host=private)
    assert parse_resource("GPIB0::24::INSTR", allow_host=private)
    for text in ("TCPIP::169.254.169.254::80::SOCKET", "TCPIP::LOCALHOST::inst0::INSTR"):
        with pytest.raises(ResourceError, match=r"V006 .*allowed networks"):
            parse_resource(text, allow_host=private)


def test_plain_loopback_is_allowed_where_nobody_forbids_it():
    assert parse_resource("TCPIP::127.0.0.1::5025::SOCKET").host == "127.0.0.1"


ALPHABET = st.sampled_from(
    [*"TCPIPUSBGPIBASRLINSTRSOCKET0123456789xX.,:/[]-_ \t\n\x00é%@#?=\\", "::"]
)


@given(st.lists(ALPHABET, max_size=60).map("".join))
@example("TCPIP::[::1]::[::1]::SOCKET")
@example("TCPIP::" + "[" * 100)
def test_any_text_is_an_address_or_a_refusal_and_canonical_text_is_stable(text: str):
    try:
        resource = parse_resource(text)
    except ResourceError:
        return
    assert parse_resource(resource.text) == resource


@given(st.sampled_from(CANONICAL), st.data())
def test_a_damaged_address_never_raises_anything_else(text: str, data: st.DataObject):
    at = data.draw(st.integers(0, len(text)))
    piece = data.draw(st.text(max_size=4))
    cut = data.draw(st.integers(0, 3))
    damaged = text[:at] + piece + text[at + cut :]
    try:
        resource = parse_resource(damaged)
    except ResourceError:
        return
    assert parse_resource(resource.text) == resource
