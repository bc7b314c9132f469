"""What a ``.pt2`` file is made of, read as data: nothing of it is unpickled, imported or evaluated."""
