"""The program `kbert`: one module a command, imported when it is called."""
