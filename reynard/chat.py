"""`reynard chat`: talk to a released chat model, loaded from its folder by `transformers` as any user would."""

import os
from pathlib import Path
from typing import Annotated

import typer

LATEST = Path(os.environ.get("REYNARD_RUNS", "runs")) / "latest"


def chat(
    model: Annotated[Path, typer.Argument(help="A released chat model's folder.")] = LATEST / "release" / "chat",
    prompt: Annotated[str, typer.Option(help="Ask one question, print the answer and stop.")] = "",
    max_new_tokens: Annotated[int, typer.Option(help="Most tokens of an answer.")] = 120,
    temperature: Annotated[float, typer.Option(help="0 always takes the likeliest token.")] = 0.0,
) -> None:
    """Chat with a released model."""
    if not (model / "config.json").is_file():
        typer.secho(f"error: there is no released model at {model}: run `make run` first, or give the folder of one", fg="red", err=True)
        raise typer.Exit(2)
    os.environ["HF_HUB_OFFLINE"] = "1"
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, TextStreamer, logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    tokenizer = AutoTokenizer.from_pretrained(model, local_files_only=True)
    if tokenizer.chat_template is None:
        typer.secho(
            f"error: {model} is a base model, without a chat template: give a chat model, such as runs/latest/release/chat",
            fg="red",
            err=True,
        )
        raise typer.Exit(2)
    network = AutoModelForCausalLM.from_pretrained(model, local_files_only=True).eval()
    sampling = {"do_sample": True, "temperature": temperature} if temperature > 0 else {"do_sample": False}
    messages: list[dict[str, str]] = []
    if not prompt:
        typer.echo("Ask something; an empty line ends the chat. This model sees its own earlier turns as far as they fit its context.")
    while question := (prompt or input("you> ").strip()):
        messages.append({"role": "user", "content": question})
        while len(messages) > 1 and _length(tokenizer, messages) + max_new_tokens > network.config.max_position_embeddings:
            messages = messages[2:]  # forget the oldest exchange
        inputs = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
        if not prompt:
            typer.echo("model> ", nl=False)
        with torch.no_grad():
            made = network.generate(
                **inputs,
                max_new_tokens=max_new_tokens,
                streamer=TextStreamer(tokenizer, skip_prompt=True, skip_special_tokens=True),
                **sampling,
            )
        messages.append(
            {"role": "assistant", "content": tokenizer.decode(made[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)}
        )
        if prompt:
            return


def _length(tokenizer, messages: list[dict[str, str]]) -> int:
    return len(tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False))
