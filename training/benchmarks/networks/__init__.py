"""UNATE's own experiment: CartNet on a property, with and without pretraining."""
