"""What things cost, in cents: shared by all services of the shop."""

DOZEN = 12


def total(cents: int, quantity: int) -> int:
    """Return the price of so many things at so much each: of each full dozen, one is free.

    Raises:
        ValueError: The quantity is not positive.
    """
    if quantity < 1:
        raise ValueError(f"quantity must be 1 or more, not {quantity}")
    return cents * (quantity - quantity // DOZEN)
