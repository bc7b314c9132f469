"""`jalon.Loop`: the loop that a user writes by hand, in any framework."""
