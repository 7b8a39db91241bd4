"""`reynard sign`: a released folder signed with a key of one's own, or its signature checked. Works without a network."""

import os
from pathlib import Path
from typing import Annotated

import typer

from recipes.errors import BadInput
from reynard.where import printable, refusing


def sign(
    folder: Annotated[Path, typer.Argument(help="A released folder, such as runs/latest/release/base.")],
    key: Annotated[Path | None, typer.Option(help="Sign with this private key (elliptic curve, PEM).")] = None,
    check: Annotated[Path | None, typer.Option(help="Check the signature with this public key (PEM), instead of signing.")] = None,
    password_variable: Annotated[str, typer.Option(help="The environment variable that holds the private key's password.")] = "",
) -> None:  # fmt: skip
    """Sign every file of a released folder, or check its signature: OpenSSF Model Signing with a key of one's own."""
    with refusing(BadInput, OSError):
        from tasks.openness.signature import check_signature
        from tasks.openness.signature import sign as sign_folder

        if (key is None) == (check is None):
            raise BadInput("`reynard sign` needs exactly one of --key (a private key, to sign) and --check (a public key, to check)")
        if key is not None:
            if password_variable and password_variable not in os.environ:
                raise BadInput(f"the environment has no variable {password_variable!r}: set it, or leave out --password-variable")
            typer.echo(f"signed: {sign_folder(folder, key, os.environ.get(password_variable) if password_variable else None)}")
            return
        assert check is not None
        wrong = check_signature(folder, check)
    if wrong:
        typer.secho(printable(f"NOT as it was signed: {wrong}"), fg="red", err=True)
        raise typer.Exit(1)
    typer.secho("every file is as it was signed", fg="green")
