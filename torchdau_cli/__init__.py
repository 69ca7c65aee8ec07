"""The command ``torchdau``, a file for each of its own subcommands.

Importing any of it needs neither torch nor torchdau: help and mistakes are answered at once. What a command computes
with is imported when it runs.
"""
