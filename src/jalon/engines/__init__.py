"""The loops that jalon owns: `jalon.Model` for PyTorch, and `jalon.Loop` for one written by hand."""
