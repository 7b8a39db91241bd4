"""Contenders from other projects: each a function from a task to the row of what it removed. Nothing here imports this project's code."""
