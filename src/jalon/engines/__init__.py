"""The loops that jalon owns: `jalon.Model` for PyTorch."""
