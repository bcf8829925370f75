"""The commands of `python -m training`, one family to a file; each function is a command, its docstring the help."""
