"""Signatures by ssh-keygen itself: made, found good, and refused."""

import os
import subprocess
from pathlib import Path

import pytest

from dsgmigd.custody.signing import Signer, signed_by, verify
from dsgmigd.errors import SignatureInvalid, SigningFailed
from dsgmigd.host import command

WORD = "secret"
CONTENT = b"what is signed\n\0\xff"


def new_key(path: Path, *, passphrase: str = "", kind: str = "ed25519") -> str:
    subprocess.run(
        ["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-C", "a comment", "-f", path],
        check=True,
        stdin=subprocess.DEVNULL,
        timeout=60,
    )
    return str(path)


@pytest.fixture
def key(tmp_path: Path) -> str:
    return new_key(tmp_path / "key")


def test_what_is_signed_verifies_with_the_public_key_and_is_not_the_old_content(key: str) -> None:
    signer = Signer(key)
    signature = signer.sign(CONTENT)
    verify(CONTENT, signature, public_key=signer.public_key)
    with pytest.raises(SignatureInvalid, match="not valid"):
        verify(CONTENT + b"x", signature, public_key=signer.public_key)


def test_ssh_keygen_by_hand_verifies_it_too(key: str, tmp_path: Path) -> None:
    (tmp_path / "sig").write_bytes(Signer(key).sign(CONTENT))
    public = Path(key + ".pub").read_text()
    (tmp_path / "signers").write_text(f"dsgmigd {public}")
    words = ("-f", "signers", "-I", "dsgmigd", "-n", "dsgmigd", "-s", "sig")
    done = subprocess.run(
        ["ssh-keygen", "-Y", "verify", *words],
        check=False,
        cwd=tmp_path,
        input=CONTENT,
        capture_output=True,
        timeout=60,
    )
    assert done.returncode == 0, done


def test_allowed_signers_may_be_several_and_others_are_refused(key: str, tmp_path: Path) -> None:
    old, foreign = new_key(tmp_path / "old"), new_key(tmp_path / "foreign", kind="ecdsa")
    signers = tmp_path / "signers"
    lines = [f"dsgmigd {Path(one + '.pub').read_text()}" for one in (old, key)]
    signers.write_text("".join(lines))
    verify(CONTENT, Signer(old).sign(CONTENT), allowed_signers=str(signers))
    verify(CONTENT, Signer(key).sign(CONTENT), allowed_signers=str(signers))
    with pytest.raises(SignatureInvalid):
        verify(CONTENT, Signer(foreign).sign(CONTENT), allowed_signers=str(signers))
    with pytest.raises(SignatureInvalid):
        verify(CONTENT, Signer(foreign).sign(CONTENT), public_key=f"{key}.pub")


def test_the_identity_of_a_signer_must_be_dsgmigd(key: str, tmp_path: Path) -> None:
    signers = tmp_path / "signers"
    signers.write_text(f"somebody {Path(key + '.pub').read_text()}")
    with pytest.raises(SignatureInvalid):
        verify(CONTENT, Signer(key).sign(CONTENT), allowed_signers=str(signers))


def test_a_signature_for_another_purpose_is_refused(key: str) -> None:
    done = subprocess.run(
        ["ssh-keygen", "-Y", "sign", "-q", "-f", key, "-n", "git"],
        check=True,
        input=CONTENT,
        capture_output=True,
        timeout=60,
    )
    with pytest.raises(SignatureInvalid):
        verify(CONTENT, done.stdout, public_key=f"{key}.pub")


@pytest.mark.parametrize("signature", [b"", b"no signature", b"-----BEGIN SSH SIGNATURE-----\n"])
def test_what_is_no_signature_is_invalid(key: str, signature: bytes) -> None:
    with pytest.raises(SignatureInvalid):
        verify(CONTENT, signature, public_key=f"{key}.pub")
    with pytest.raises(SignatureInvalid):
        signed_by(CONTENT, signature)


def test_without_a_key_it_is_said_which_key_signed(key: str) -> None:
    shown = subprocess.run(
        ["ssh-keygen", "-l", "-f", key], check=True, capture_output=True, text=True, timeout=60
    )
    signature = Signer(key).sign(CONTENT)
    assert signed_by(CONTENT, signature) == f"ED25519 key {shown.stdout.split()[1]}"
    with pytest.raises(SignatureInvalid):
        signed_by(CONTENT + b"x", signature)


def test_a_key_that_does_not_exist_is_said_with_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(SigningFailed, match="does not exist") as caught:
        Signer(str(tmp_path / "no")).check()
    assert "ssh-keygen -t ed25519 -N ''" in caught.value.hint


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_key_that_others_may_use_is_refused(key: str, mode: int) -> None:
    os.chmod(key, mode)
    with pytest.raises(SigningFailed, match="others may read or write it"):
        Signer(key).sign(CONTENT)


def test_a_key_with_a_passphrase_is_refused_and_nobody_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = tmp_path / "asked"
    ask = tmp_path / "ask"
    ask.write_text(f"#!/bin/sh\ntouch {asked}\necho secret\n")
    ask.chmod(0o755)
    for name, value in (("SSH_ASKPASS", str(ask)), ("SSH_ASKPASS_REQUIRE", "force")):
        monkeypatch.setenv(name, value)
    with pytest.raises(SigningFailed, match="has a passphrase"):
        Signer(new_key(tmp_path / "key", passphrase=WORD)).sign(CONTENT)
    assert not asked.exists()


def test_a_file_that_is_no_key_is_refused(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("no key\n")
    (tmp_path / "key").chmod(0o600)
    with pytest.raises(SigningFailed, match="cannot sign"):
        Signer(str(tmp_path / "key")).sign(CONTENT)
    with pytest.raises(SigningFailed, match="is not a public key"):
        verify(CONTENT, b"", public_key=str(tmp_path / "key"))
    with pytest.raises(SigningFailed, match="cannot be read"):
        verify(CONTENT, b"", public_key=str(tmp_path / "no"))
    (tmp_path / "directory").mkdir()
    with pytest.raises(SigningFailed, match="is not a file"):
        Signer(str(tmp_path / "directory")).sign(CONTENT)


def test_without_ssh_keygen_the_package_is_named(
    key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signature = Signer(key).sign(CONTENT)
    monkeypatch.setitem(command._ENVIRONMENT, "PATH", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))  # where Python looks for the program
    for act in (lambda: Signer(key).sign(CONTENT), lambda: signed_by(CONTENT, signature)):
        with pytest.raises(SigningFailed) as caught:
            act()
        assert "openssh-client" in caught.value.hint


def test_either_a_key_or_signers_are_given(key: str) -> None:
    with pytest.raises(ValueError, match="either"):
        verify(CONTENT, b"")
    with pytest.raises(ValueError, match="either"):
        verify(CONTENT, b"", public_key=f"{key}.pub", allowed_signers=key)
