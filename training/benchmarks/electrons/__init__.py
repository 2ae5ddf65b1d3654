"""What changes of the tight-binding model are worth, as columns, on validation formulas."""
