"""What is like a crystal, and how far it is from what the weights and a model have seen."""
