"""`python -m reynard`: the console command without its script."""

from reynard.main import app

app()
