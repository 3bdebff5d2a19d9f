"""One documented experiment a module: `python -m kbert.recipes.<name>` runs it."""
