"""`make bench`: the speed of Autos, in comparison with usual alternatives."""
