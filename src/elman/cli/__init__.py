"""The command line, ``elman``: one module a task."""
