"""PyTorch: the model, its loop, and the names of losses, metrics and optimizers."""
