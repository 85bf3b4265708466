"""How fast Elman is beside other libraries: `python -m benchmarks.speed.run --help`."""
