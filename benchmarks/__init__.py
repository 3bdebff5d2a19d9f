"""How fast kbert is beside what people use: one question a script.

Every script prints what it measures and ends with one JSON object on the last line of
standard output; `python -m benchmarks.tables` turns the records into tables and plots.
"""
