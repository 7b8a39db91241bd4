"""The console command `reynard`: what people do beside running workflows. One file for each command, wiring only."""

import typer

from reynard.affected import affected
from reynard.chat import chat
from reynard.compare import compare
from reynard.confirm import confirm
from reynard.drill import drill
from reynard.explain import explain
from reynard.fertility import fertility
from reynard.lineage import lineage
from reynard.metrics import metrics
from reynard.mt_bench import mt_bench
from reynard.plan import plan
from reynard.publish import publish
from reynard.reproduce import reproduce
from reynard.rescore import rescore
from reynard.run import run
from reynard.serve_bench import serve_bench
from reynard.sign import sign
from reynard.trace import trace
from reynard.track import track
from reynard.ui import ui
from reynard.verify import verify
from reynard.watch import watch

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Raw documents in, a released, proven, traceable chat model out.")
app.command()(plan)
app.command()(run)
app.command()(chat)
app.command()(explain)
app.command()(trace)
app.command()(watch)
app.command()(track)
app.command()(metrics)
app.command()(lineage)
app.command()(verify)
app.command()(publish)
app.command()(reproduce)
app.command()(affected)
app.command()(fertility)
app.command()(drill)
app.command()(mt_bench)
app.command()(serve_bench)
app.command()(rescore)
app.command()(compare)
app.command()(sign)
app.command()(confirm)
app.command()(ui)
