"""``drivebay sim``: simulated instruments, with the simulators' own command line."""

from __future__ import annotations

import click


@click.command(
    add_help_option=False,
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def sim(arguments: tuple[str, ...]) -> int:
    """Serve a simulated instrument on a TCP port, or with --all a whole virtual bench.

    Prints one line of JSON with its address and serves until its standard input ends, or Ctrl-C.
    `drivebay sim keithley2400 --help` lists what can be set: the device under test, the model, the
    noise, and how the instrument behaves when it is busy. `drivebay sim --all` starts the
    instruments of a circuit and prints a bench file with their addresses; with
    `--bench-file bench.yaml` it writes one, which `drivebay find --bench bench.yaml` reads.
    """
    from drivebay.sim import main

    return main(arguments)
