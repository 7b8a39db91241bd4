"""`reynard mt-bench`: a chat model's ratings by a judge on MT-Bench's 80 questions, with every transcript."""

import os
import re
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import orjson
import typer

from recipes.errors import BadInput
from reynard.where import printable, refusing

RUNS = Path(os.environ.get("REYNARD_RUNS", "runs"))


def mt_bench(
    judge: Annotated[str, typer.Option(help="The judge's name at its endpoint, such as gpt-4.")],
    judge_url: Annotated[str, typer.Option(help="The judge's endpoint, up to and with /v1.")] = "https://api.openai.com/v1",
    judge_key: Annotated[str, typer.Option(help="The environment variable that holds the judge's key; empty: none is sent.")] = "",
    model: Annotated[str, typer.Option(help="The model's name at its endpoint.")] = "",
    model_url: Annotated[str, typer.Option(help="The model's endpoint, up to and with /v1.")] = "",
    model_key: Annotated[str, typer.Option(help="The environment variable that holds the model's key; empty: none is sent.")] = "",
    serve: Annotated[Path | None, typer.Option(help="An exported chat model's folder, served here for the time of the run.")] = None,
    data: Annotated[Path | None, typer.Option(help="A folder with MT-Bench's files. Default: fetched from FastChat's repository.")] = None,
    out: Annotated[Path | None, typer.Option(help="Where answers and judgements go. Default: runs/mt-bench/MODEL.")] = None,
    concurrency: Annotated[int, typer.Option(help="Requests at once.", min=1, max=1024)] = 4,
    answer_tokens: Annotated[int, typer.Option(help="Most tokens of an answer; FastChat's is 1024.", min=1)] = 1024,
    timeout: Annotated[float, typer.Option(help="Seconds until a request counts as lost.", min=1)] = 600.0,
) -> None:  # fmt: skip
    """Have a chat model answer MT-Bench and a judge rate it. What a killed run has done already is not done again."""
    from tasks.judging.mt_bench import Bench, run_bench
    from tasks.judging.questions import fetch_questions, load_questions
    from tasks.judging.report import write_report
    from tasks.serving.endpoint import Endpoint, Unanswered
    from tasks.serving.local import serve as serve_here
    from tasks.serving.weights import weights_digest

    with refusing(BadInput, Unanswered, OSError, RuntimeError):
        if (serve is None) == (not model_url):
            raise BadInput("give either --serve with an exported model's folder, or --model-url and --model of a server that runs already")
        judging = Endpoint(judge_url, judge, judge_key, timeout)
        questions = load_questions(data or fetch_questions(RUNS / "mt-bench" / "data"))
        name = model or (serve.resolve().name if serve else "")
        weights = weights_digest(serve) if serve else ""
        with serve_here(serve, timeout) if serve else nullcontext(Endpoint(model_url, model, model_key, timeout)) as answering:
            folder = out or RUNS / "mt-bench" / re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")
            bench = Bench(answering, judging, questions, concurrency, weights, answer_tokens)
            result = run_bench(bench, folder)
        summary = write_report(bench, name, result, folder)
    typer.echo(orjson.dumps(summary, option=orjson.OPT_INDENT_2).decode())
    typer.echo(f"page: {folder / 'report.html'}")
    for one in result["failed"]:
        typer.secho(f"error: question {one['question_id']}: {printable(one['why'])}", fg="red", err=True)
    if summary["judged"] < summary["expected"]:
        typer.secho("some judgements are missing: the same command asks for those alone", fg="red", err=True)
        raise typer.Exit(1)
