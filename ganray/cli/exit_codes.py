"""The exit codes of every command."""

DONE = 0
FAILED = 1
USAGE = 2
SOME_INPUTS_FAILED = 3
