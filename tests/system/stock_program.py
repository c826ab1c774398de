"""How an instrument is swept in most scripts: a socket, a loop, the file written at the end.

For the controls of the crash laboratory: nobody switches anything off for it, and what it has said
of its points is not on disk. Arguments: the port, the file.
"""

from __future__ import annotations

import json
import socket
import sys


def main() -> None:
    port, path = int(sys.argv[1]), sys.argv[2]
    points = []
    with socket.create_connection(("127.0.0.1", port)) as peer:
        answers = peer.makefile("r", encoding="ascii")
        peer.sendall(b":SENS:CURR:PROT 0.01\n:FORM:ELEM CURR\n:SENS:CURR:NPLC 0.01\n:OUTP ON\n")
        for number in range(100_000):
            peer.sendall(f":SOUR:VOLT {number / 1e5}\n:READ?\n".encode())
            points.append(float(answers.readline()))
            sys.stdout.write(json.dumps({"points": len(points)}) + "\n")
            sys.stdout.flush()
        peer.sendall(b":OUTP OFF\n")
    with open(path, "w", encoding="utf-8") as file:
        json.dump(points, file)


if __name__ == "__main__":
    main()
