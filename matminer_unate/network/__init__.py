"""The encoder: settings, layers, weights, device, and batches of graphs run through it."""
