"""Small dense systems of linear equations, real or complex.

Promises: the solution of a system of a handful of unknowns, by elimination with partial pivoting,
the same on every machine. Never imports anything: for matrices of four rows a library costs more
than it saves.
"""

from __future__ import annotations

from typing import TypeVar

Number = TypeVar("Number", float, complex)


class SingularError(ArithmeticError):
    """The equations have no single solution."""


def solved(matrix: list[list[Number]], right: list[Number]) -> list[Number]:
    """The x with ``matrix @ x = right``; both arguments are used up.

    Raises:
        SingularError: there is no single solution.

    >>> solved([[2.0, 1.0], [1.0, 3.0]], [3.0, 5.0])
    [0.8, 1.4]
    """
    size = len(right)
    for column in range(size):
        best = max(range(column, size), key=lambda row: abs(matrix[row][column]))
        pivot = matrix[best][column]
        if not abs(pivot) > 0.0:
            raise SingularError(f"no pivot in column {column} of {size}")
        if best != column:
            matrix[column], matrix[best] = matrix[best], matrix[column]
            right[column], right[best] = right[best], right[column]
        head = matrix[column]
        for row in range(column + 1, size):
            line = matrix[row]
            if line[column]:
                factor = line[column] / pivot
                for place in range(column + 1, size):
                    if head[place]:
                        line[place] -= factor * head[place]
                right[row] -= factor * right[column]
    for row in range(size - 1, -1, -1):
        line = matrix[row]
        total = right[row]
        for place in range(row + 1, size):
            total -= line[place] * right[place]
        right[row] = total / line[row]
    return right
