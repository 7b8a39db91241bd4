"""Signatures of released folders, with real keys: what was signed is checked file by file, with this project and without it."""

import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from typer.testing import CliRunner

from recipes.errors import BadInput
from reynard.main import app
from tasks.openness.signature import SIGNATURE, check_signature, sign


def make_keys(folder: Path, name: str = "key", password: bytes | None = None) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    locked = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    private, public = folder / f"{name}.pem", folder / f"{name}.pub.pem"
    private.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, locked))
    public.write_bytes(key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo))
    return private, public


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "release"
    (made / "reynard").mkdir(parents=True)
    (made / "model.safetensors").write_bytes(bytes(range(256)))
    (made / "reynard" / "sbom.cdx.json").write_text("{}")
    return made


def test_a_signed_folder_is_found_as_it_was_signed(tmp_path, folder):
    private, public = make_keys(tmp_path)
    assert sign(folder, private) == folder / SIGNATURE
    assert check_signature(folder, public) == ""


@pytest.mark.parametrize("name", ["model.safetensors", "reynard/sbom.cdx.json"])
def test_a_flipped_byte_in_any_file_is_named(tmp_path, folder, name):
    private, public = make_keys(tmp_path)
    sign(folder, private)
    data = bytearray((folder / name).read_bytes())
    data[1] ^= 1
    (folder / name).write_bytes(data)
    assert check_signature(folder, public) == f"Hash mismatch for '{name}'"


def test_a_file_that_was_added_or_taken_away_is_named(tmp_path, folder):
    private, public = make_keys(tmp_path)
    sign(folder, private)
    (folder / "pytorch_model.bin").write_bytes(b"x")
    assert "pytorch_model.bin" in check_signature(folder, public)
    (folder / "pytorch_model.bin").unlink()
    (folder / "model.safetensors").unlink()
    assert "model.safetensors" in check_signature(folder, public)


def test_another_key_did_not_sign_it(tmp_path, folder):
    private, _ = make_keys(tmp_path)
    _, stranger = make_keys(tmp_path, "stranger")
    sign(folder, private)
    assert check_signature(folder, stranger) != ""


def test_a_signature_that_was_altered_is_none(tmp_path, folder):
    private, public = make_keys(tmp_path)
    sign(folder, private)
    text = (folder / SIGNATURE).read_text()
    place = text.index('"sig"') + 12
    (folder / SIGNATURE).write_text(text[:place] + ("A" if text[place] != "A" else "B") + text[place + 1 :])
    assert check_signature(folder, public) != ""


def test_a_key_with_a_password_needs_it_and_no_error_tells_it(tmp_path, folder):
    private, public = make_keys(tmp_path, password=b"opensesame")
    with pytest.raises(BadInput) as refused:
        sign(folder, private, "opensesamf")
    assert "opensesam" not in str(refused.value) and "cannot be used to sign" in str(refused.value)
    sign(folder, private, "opensesame")
    assert check_signature(folder, public) == ""


def test_the_command_signs_checks_and_refuses(tmp_path, folder):
    private, public = make_keys(tmp_path)
    run = CliRunner().invoke
    assert "needs exactly one of --key" in run(app, ["sign", str(folder)]).output
    assert "it was never signed" in run(app, ["sign", str(folder), "--check", str(public)]).output
    assert "cannot be used to sign" in run(app, ["sign", str(folder), "--key", str(public)]).output
    assert run(app, ["sign", str(folder), "--key", str(private)]).exit_code == 0
    assert "every file is as it was signed" in run(app, ["sign", str(folder), "--check", str(public)]).output
    (folder / "model.safetensors").write_bytes(bytes(range(255, -1, -1)))
    found = run(app, ["sign", str(folder), "--check", str(public)])
    assert found.exit_code == 1 and "model.safetensors" in found.output


def test_whoever_has_the_public_key_checks_it_without_this_project(tmp_path, folder):
    private, public = make_keys(tmp_path)
    sign(folder, private)
    program = str(Path(sys.executable).with_name("model_signing"))
    command = [program, "verify", "key", str(folder), "--signature", str(folder / SIGNATURE), "--public_key", str(public)]
    assert subprocess.run(command, capture_output=True, cwd=tmp_path).returncode == 0
    (folder / "model.safetensors").write_bytes(b"other")
    assert subprocess.run(command, capture_output=True, cwd=tmp_path).returncode != 0
