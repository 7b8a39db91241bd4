"""This project's contenders: each a function from a task to the row of what it removed."""
