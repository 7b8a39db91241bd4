"""A released folder and a key to a signature of every file in it (OpenSSF Model Signing 1.0, a Sigstore bundle), and back to what was altered.

No network and no account: the key is an elliptic-curve key of one's own. Whoever has the folder and the public key can check it without
this project: `model_signing verify key FOLDER --signature FOLDER/model.sig --public_key PUBLIC.pem`.
"""

import ast
from pathlib import Path
from types import ModuleType
from typing import Any

from recipes.errors import BadInput

SIGNATURE = "model.sig"  # in a released folder


def sign(folder: Path, key: Path, password: str | None = None) -> Path:
    """Sign every file of a folder with a private key (PEM, NIST P-256, P-384 or P-521); return the signature's path.

    BadInput if the folder or the key is not there, or the key cannot be used. Its password never gets into an error.
    """
    signing = _model_signing(folder, key).signing
    try:
        signer = signing.Config().use_elliptic_key_signer(private_key=key, password=password.encode() if password else None)
    except (ValueError, TypeError):
        raise BadInput(
            f"{key} cannot be used to sign: give an elliptic-curve private key in PEM and its password, if it has one; make one with "
            "`openssl ecparam -genkey -name prime256v1 -noout -out key.pem`"
        ) from None
    target = folder / SIGNATURE
    signer.set_hashing_config(_hashing(target)).sign(folder, target)
    return target


def check_signature(folder: Path, public_key: Path) -> str:
    """Return what is wrong with a folder's signature: empty if every file is as it was signed by the key's owner. BadInput as `sign`."""
    verifying = _model_signing(folder, public_key).verifying
    target = folder / SIGNATURE
    if not target.is_file():
        raise BadInput(f"{folder} has no {SIGNATURE}: it was never signed, sign it with `reynard sign {folder} --key KEY`")
    try:
        verifier = verifying.Config().use_elliptic_key_verifier(public_key=public_key)
    except (ValueError, TypeError):
        raise BadInput(f"{public_key} is no elliptic-curve public key in PEM: make it with `openssl ec -in key.pem -pubout`") from None
    from cryptography.exceptions import InvalidSignature

    try:
        verifier.set_hashing_config(_hashing(target)).verify(folder, target)
    except InvalidSignature:
        return f"{SIGNATURE} was not made with this key"
    except ValueError as error:  # which files differ, or that the signature is another key's or none at all
        return _readable(" ".join(str(error).split()))
    return ""


def _readable(message: str) -> str:
    """Return what the library says of files that differ, without both digests of each."""
    listed = message.partition("Signature mismatch: ")[2]
    return "; ".join(said.partition(": Expected '")[0] for said in ast.literal_eval(listed)) if listed else message


def _hashing(signature: Path) -> Any:
    """Return what is hashed: all files but the signature itself."""
    from model_signing import hashing

    return hashing.Config().set_ignored_paths(paths=[signature], ignore_git_paths=False)


def _model_signing(folder: Path, key: Path) -> ModuleType:
    if not folder.is_dir():
        raise BadInput(f"{folder} is no folder: give a released one, such as runs/latest/release/base")
    if not key.is_file():
        raise BadInput(f"key {key} is not there: give the path of a PEM file")
    try:
        import model_signing
    except ImportError as error:
        raise BadInput(f"signing needs more packages ({error}): pip install -c constraints.txt -e '.[signing]'") from None
    return model_signing
