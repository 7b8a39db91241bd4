"""`reynard serve-bench`: how fast a server answers many users at once, by Fox-1's protocol."""

import platform
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import orjson
import typer

from recipes.errors import BadInput
from reynard.where import printable, refusing


def serve_bench(
    url: Annotated[str, typer.Argument(help="The server's endpoint, up to and with /v1.")] = "",
    model: Annotated[str, typer.Option(help="The model's name at its endpoint.")] = "",
    key: Annotated[str, typer.Option(help="The environment variable that holds the endpoint's key; empty: none is sent.")] = "",
    serve: Annotated[Path | None, typer.Option(help="An exported model's folder, served here for the time of the sweep.")] = None,
    tokenizer: Annotated[Path | None, typer.Option(help="A folder with the model's tokenizer. Default: that of --serve.")] = None,
    weights: Annotated[Path | None, typer.Option(help="A folder with the model's safetensors, to say what they take in memory.")] = None,
    concurrency: Annotated[str, typer.Option(help="Users at once, level by level.")] = "1,2,4,8,16,32",
    requests: Annotated[int, typer.Option(help="Requests of each user at each level.", min=1)] = 4,
    prompt_tokens: Annotated[int, typer.Option(help="Tokens of a prompt, on average; Fox-1's report: 234.", min=1)] = 234,
    output_tokens: Annotated[int, typer.Option(help="Tokens of an answer; Fox-1's report: 512.", min=2)] = 512,
    plain: Annotated[bool, typer.Option("--plain", help="Send plain prompts to /completions: for base models.")] = False,
    machine: Annotated[str, typer.Option(help="What the server runs on, for the page.")] = "",
    seed: Annotated[int, typer.Option(help="Decides the prompts.")] = 0,
    timeout: Annotated[float, typer.Option(help="Seconds until a request counts as lost.", min=1)] = 600.0,
    json: Annotated[Path | None, typer.Option(help="Write all figures to this file.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write the charts to this page.")] = None,
) -> None:  # fmt: skip
    """Measure output tokens per second per user, time to the first token and the gaps between tokens under load."""
    from tasks.panels.serving import serving_page
    from tasks.serving.endpoint import Endpoint
    from tasks.serving.load import Sweep, run_sweep
    from tasks.serving.local import serve as serve_here
    from tasks.serving.prompts import token_counter
    from tasks.serving.weights import weight_memory

    with refusing(BadInput, OSError, RuntimeError):
        if (serve is None) == (not url):
            raise BadInput("give either --serve with an exported model's folder, or the address of a server that runs already and --model")
        folder = tokenizer or serve
        if folder is None or not (folder / "tokenizer.json").is_file():
            raise BadInput(
                f"--tokenizer {folder or '(not given)'}: give a folder with the model's tokenizer.json, to make prompts of known length"
            )
        sweep = Sweep(levels_of(concurrency), requests, prompt_tokens, output_tokens, not plain, seed)
        count = token_counter(str(folder), chat=not plain)
        held = weight_memory(place) if (place := weights or serve) else None
        with serve_here(serve, timeout) if serve else nullcontext(Endpoint(url, model, key, timeout)) as endpoint:
            result = run_sweep(endpoint, sweep, count)
    setup = {
        "model": serve.resolve().name if serve else model, "endpoint": endpoint.url, "prompt_tokens": prompt_tokens, "output_tokens": output_tokens,
        "requests_per_user": requests, "chat": not plain, "seed": seed, "machine": machine or f"not said; measured from {platform.machine()}",
    }  # fmt: skip
    result |= {"setup": setup, "weights": held}
    if json:
        json.write_bytes(orjson.dumps(result, option=orjson.OPT_INDENT_2) + b"\n")
    if html:
        html.write_text(serving_page(result), encoding="utf-8")
    for level in result["levels"]:
        typer.echo(line_of(level))
    if any(level["failed"] for level in result["levels"]):
        raise typer.Exit(1)


def levels_of(written: str) -> list[int]:
    """Read `1,2,4`; BadInput for anything but whole numbers from 1 to 4,096."""
    parts = written.replace(",", " ").split()
    if not parts or not all(part.isdecimal() and 1 <= int(part) <= 4096 for part in parts):
        raise BadInput(f"--concurrency {written!r}: give whole numbers from 1 to 4096, such as 1,2,4,8")
    return [int(part) for part in parts]


def line_of(level: dict) -> str:
    """Write a level on one line."""
    lost = sum(level["failed"].values())
    head = f"{level['concurrency']:>5} users  {level['requests']:>5} requests" + (f", {lost} failed" if lost else "")
    if "output_tokens_per_second" not in level:
        return f"{head}: {printable('; '.join(level['failed']))}"
    user, first = level["output_tokens_per_second_per_user"], level["time_to_first_token_seconds"]
    return (
        f"{head}  per user {user['p50']:,.1f} tokens/s (p50)  all {level['output_tokens_per_second']:,.1f} tokens/s  "
        f"first token {first['p50']:.3f} s (p50) {first['p99']:.3f} s (p99)"
    )
