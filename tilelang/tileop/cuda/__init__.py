"""How tile operations run on the threads of an NVIDIA GPU."""
