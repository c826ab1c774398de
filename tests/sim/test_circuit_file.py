"""Circuit files: what they say, and everything that is wrong with one at once."""

import pytest

from drivebay.sim.circuitfile import CircuitFileError, parse_circuit, read_circuit


def test_the_packaged_bench_can_be_read_and_every_port_has_something_on_it():
    said = read_circuit()

    circuit = said.circuit()

    assert said.instruments
    assert all(circuit.neighbours(name) for name in circuit.ports)


def test_nodes_may_be_given_in_order_or_by_name():
    def parts(nodes):
        return parse_circuit({"devices": {"m": {"kind": "mosfet", "nodes": nodes}}}).parts

    assert parts(["d", "g", "s"]) == parts({"source": "s", "gate": "g", "drain": "d"})


def test_a_port_with_four_nodes_senses_at_the_last_two():
    said = parse_circuit(
        {"instruments": {"smu": {"kind": "keithley2400", "ports": {"smu": ["a", "b", "c", "d"]}}}}
    )

    (socket,) = said.sockets
    assert (socket.high, socket.low, socket.sense_high, socket.sense_low) == ("a", "b", "c", "d")


def test_settings_reach_the_entry():
    said = parse_circuit(
        {"instruments": {"smu": {"kind": "keithley2400", "model": "2410", "seed": 5, "noise": 0}}}
    )

    assert said.instruments[0].settings == {"model": "2410", "seed": 5, "noise": 0}


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ([], "expected the keys"),
        ({"circus": 1}, "unknown key 'circus'"),
        ({"instruments": ["a"]}, "instruments: expected names"),
        ({"instruments": {"Big": {}}}, "'Big' is no name"),
        ({"instruments": {"a": 5}}, "a: expected keys, got 5"),
        ({"instruments": {"a": {"kind": "abacus"}}}, "no simulator 'abacus'"),
        ({"instruments": {"a": {"kind": "keithley2400", "colour": 1}}}, "unknown key 'colour'"),
        ({"instruments": {"a": {"kind": "keithley2400", "model": 2400}}}, "model: wrong type"),
        (
            {"instruments": {"a": {"kind": "keithley2400", "ports": {"x": ["a", "b"]}}}},
            "no port 'x'",
        ),
        (
            {"instruments": {"a": {"kind": "keithley2400", "ports": {"smu": ["a"]}}}},
            "expected the nodes",
        ),
        (
            {"instruments": {"a": {"kind": "keithley2400", "ports": {"smu": ["a", "a"]}}}},
            "both terminals are on node 'a'",
        ),
        (
            {
                "instruments": {
                    "a": {"kind": "keithley2400", "tcp_port": 7},
                    "b": {"kind": "keithley2400", "tcp_port": 7},
                }
            },
            "instrument b: port 7 is a's",
        ),
        ({"devices": {"d": {"kind": "flux", "nodes": ["a", "b"]}}}, "no kind 'flux'"),
        ({"devices": {"d": {"kind": "diode", "nodes": ["a"]}}}, "nodes: expected one for each"),
        ({"devices": {"d": {"kind": "diode", "nodes": ["a", "b"], "x": 1}}}, "unknown key 'x'"),
        (
            {"devices": {"d": {"kind": "resistor", "nodes": ["a", "b"], "ohm": "big"}}},
            "ohm: expected a number, got 'big'",
        ),
        (
            {"devices": {"d": {"kind": "resistor", "nodes": ["a", "b"], "ohm": -1}}},
            "ohm must be finite and >= 0",
        ),
    ],
)
def test_what_is_wrong_is_said_by_name(data, text):
    with pytest.raises(CircuitFileError) as caught:
        parse_circuit(data)

    assert text in str(caught.value)


def test_all_that_is_wrong_is_said_at_once():
    with pytest.raises(CircuitFileError) as caught:
        parse_circuit({"instruments": {"a": {"kind": "x"}}, "devices": {"b": {"kind": "y"}}})

    assert len(caught.value.problems) == 2


@pytest.mark.parametrize("text", ["instruments: [", None])
def test_a_file_that_cannot_be_read_says_so(tmp_path, text):
    path = tmp_path / "circuit.yaml"
    if text is not None:
        path.write_text(text, encoding="utf-8")

    with pytest.raises(CircuitFileError, match=r"circuit\.yaml"):
        read_circuit(path)
