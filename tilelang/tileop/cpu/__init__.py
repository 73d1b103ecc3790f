"""How tile operations run on a CPU, where one thread runs a whole block."""
