"""Small systems of linear equations."""

from collections.abc import Sequence


def solve(rows: Sequence[Sequence[float]], right: Sequence[float]) -> list[float]:
    """The solution of `rows` times x = `right`, by elimination with the largest pivot."""
    size = len(rows)
    table = [[*row, value] for row, value in zip(rows, right, strict=True)]
    for column in range(size):
        pivot = max(range(column, size), key=lambda row: abs(table[row][column]))
        table[column], table[pivot] = table[pivot], table[column]
        for row in range(column + 1, size):
            factor = table[row][column] / table[column][column]
            table[row] = [own - factor * above for own, above in zip(table[row], table[column], strict=True)]
    found = [0.0] * size
    for row in reversed(range(size)):
        known = sum(table[row][column] * found[column] for column in range(row + 1, size))
        found[row] = (table[row][size] - known) / table[row][row]
    return found
