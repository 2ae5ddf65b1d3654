"""Text that ends with a coordinate → whether it may have been cut inside of it."""

from __future__ import annotations

from collections.abc import Sequence

from matminer_unate.cif.tokens import is_shortest


def ends_in_short_number(text: str, numbers: Sequence[str]) -> bool:
    """Whether a text ends, without a line end, in a number that is shorter than all others.

    What is left of a number is a number too, so that only its length gives it away: programs write
    coordinates with equally many decimals, or none with a bare point at its end.

    Parameters
    ----------
    text : str
    numbers : sequence of str
        The coordinates as they are written; the text ends with the last of them.
    """
    if text[-1:].isspace():
        return False
    ends_in_point = [number.endswith(".") for number in numbers]
    return is_shortest(numbers[-1], numbers) or (ends_in_point[-1] and sum(ends_in_point) == 1)
