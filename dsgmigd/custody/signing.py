"""Signatures in OpenSSH's format, which `ssh-keygen -Y verify` checks on every host.

The namespace of every signature is `dsgmigd`, and so is the identity in a file of allowed signers
(ssh-keygen(1), "ALLOWED SIGNERS"). A key must not have a passphrase: nobody is there to type it,
and ssh-keygen gets no terminal, no agent and no program that asks for one.

Raises: SigningFailed if a key or ssh-keygen cannot be used, SignatureInvalid, HostExhausted.
"""

import contextlib
import os
import re
import stat
from collections.abc import Iterator

from dsgmigd.errors import CommandFailed, CommandTimedOut, SignatureInvalid, SigningFailed
from dsgmigd.host.command import Commands
from dsgmigd.host.regular import read_regular

NAMESPACE = "dsgmigd"
IDENTITY = "dsgmigd"
PUBLIC_ENDING = ".pub"

_TIMEOUT_SECONDS = 60
_NOT_RUN = 127
_KEY_LIMIT_BYTES = 1024 * 1024
_PUBLIC_KEY = re.compile(r"((?:ssh|ecdsa|sk)-[A-Za-z0-9@.-]+) ([A-Za-z0-9+/]+=*)(?: .*)?")
_SIGNED_BY = re.compile(r"Good .* signature with (.+)")
_NEW_KEY = "make one: ssh-keygen -t ed25519 -N '' -f {key}"


class Signer:
    """Signs with the private key in the file `key`."""

    def __init__(self, key: str, commands: Commands | None = None) -> None:
        self.key = key
        self._commands = commands or Commands()

    @property
    def public_key(self) -> str:
        """Return the path of the public key, which ssh-keygen wrote beside the private one."""
        return self.key + PUBLIC_ENDING

    def check(self) -> None:
        """Raise SigningFailed if the key cannot sign."""
        self.sign(b"")

    def sign(self, content: bytes) -> bytes:
        """Return the signature of `content`: the text that ssh-keygen writes as FILE.sig."""
        _check_key(self.key)
        argv = ("ssh-keygen", "-Y", "sign", "-q", "-f", self.key, "-n", NAMESPACE)
        try:
            signature = self._commands.output(
                *argv, content=content, timeout_seconds=_TIMEOUT_SECONDS
            )
        except CommandTimedOut as error:
            raise _failed(self.key, "ssh-keygen did not answer", hint=error.hint) from error
        except CommandFailed as error:
            raise _why_not_signed(self.key, error) from error
        return signature.encode("ascii")


def verify(
    content: bytes,
    signature: bytes,
    *,
    public_key: str | None = None,
    allowed_signers: str | None = None,
    commands: Commands | None = None,
) -> None:
    """Raise SignatureInvalid unless `signature` is of `content` and of a key that may sign.

    That is the one in the file `public_key`, or those of the identity `dsgmigd` in the file
    `allowed_signers`; exactly one of the two is given.
    """
    if (public_key is None) == (allowed_signers is None):
        raise ValueError("either a public key or a file of allowed signers")
    signers = _line_for(public_key) if public_key is not None else _read_key(str(allowed_signers))
    with _memory_file(signers) as allowed, _memory_file(signature) as signed:
        words = ("-f", allowed.path, "-I", IDENTITY, "-s", signed.path)
        _verify("verify", *words, content=content, files=(allowed, signed), commands=commands)


def signed_by(content: bytes, signature: bytes, *, commands: Commands | None = None) -> str:
    """Return by which key `content` is signed, as "ED25519 key SHA256:…"; whose it is, is unknown.

    Raises SignatureInvalid if the signature is not of this content.
    """
    with _memory_file(signature) as signed:
        words = ("-s", signed.path)
        answer = _verify(
            "check-novalidate", *words, content=content, files=(signed,), commands=commands
        )
    found = _SIGNED_BY.search(answer)
    return found[1] if found else answer.strip()


class _File:
    """A file in memory that a program opens by its path."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.path = f"/proc/self/fd/{descriptor}"


@contextlib.contextmanager
def _memory_file(content: bytes) -> Iterator[_File]:
    with open(os.memfd_create("signature"), "wb") as file:
        file.write(content)
        file.flush()
        yield _File(file.fileno())


def _verify(
    act: str, *words: str, content: bytes, files: tuple[_File, ...], commands: Commands | None
) -> str:
    argv = ("ssh-keygen", "-Y", act, "-n", NAMESPACE, *words)
    kept = tuple(file.descriptor for file in files)
    try:
        return (commands or Commands()).output(
            *argv, content=content, keep_descriptors=kept, timeout_seconds=_TIMEOUT_SECONDS
        )
    except CommandFailed as error:
        if error.status == _NOT_RUN:
            raise _not_installed(error) from error
        raise SignatureInvalid(
            f"the signature is not valid: {_first_line(error.stderr) or 'ssh-keygen says no'}",
            hint="compare it with the public key of whoever should have signed: what was signed "
            "was changed, or another key signed it",
        ) from error


def _line_for(public_key: str) -> bytes:
    """Return the file of allowed signers that has this public key only."""
    text = _read_key(public_key).decode("utf-8", "replace").strip()
    found = _PUBLIC_KEY.fullmatch(text)
    if not found:
        raise SigningFailed(
            f"{public_key} is not a public key of OpenSSH",
            hint="name the file that ends in .pub; a file with several keys is given as --signers",
        )
    return f'{IDENTITY} namespaces="{NAMESPACE}" {found[1]} {found[2]}\n'.encode("ascii")


def _read_key(path: str) -> bytes:
    try:
        return read_regular(path, _KEY_LIMIT_BYTES)
    except OSError as error:
        raise SigningFailed(
            f"the keys in {path} cannot be read: {error.strerror}", hint=f"look at it: ls -l {path}"
        ) from error


def _check_key(key: str) -> None:
    """Raise SigningFailed if the file of a private key is missing, or open to others."""
    try:
        status = os.stat(key)
    except FileNotFoundError as error:
        raise _failed(key, "it does not exist", hint=_NEW_KEY.format(key=key)) from error
    except OSError as error:
        raise _failed(key, str(error.strerror), hint=f"look at it: ls -l {key}") from error
    if not stat.S_ISREG(status.st_mode):
        raise _failed(key, "it is not a file", hint=_NEW_KEY.format(key=key))
    if stat.S_IMODE(status.st_mode) & 0o077:
        raise _failed(
            key,
            "others may read or write it",
            hint=f"make a new key if others could read this one; else: chmod 600 {key}",
        )


def _why_not_signed(key: str, error: CommandFailed) -> SigningFailed:
    if error.status == _NOT_RUN:
        return _not_installed(error)
    if "passphrase" in error.stderr:
        return _failed(
            key,
            "it has a passphrase, which nobody can type",
            hint=f"use a key without one: ssh-keygen -p -N '' -f {key}, or a key of its own",
        )
    why = _first_line(error.stderr) or f"ssh-keygen ended with status {error.status}"
    return _failed(key, why, hint=_NEW_KEY.format(key=key))


def _not_installed(error: CommandFailed) -> SigningFailed:
    return SigningFailed(
        f"ssh-keygen cannot be started: {error.stderr}",
        hint="install it: apt-get install openssh-client",
    )


def _failed(key: str, why: str, *, hint: str) -> SigningFailed:
    return SigningFailed(f"the key {key} cannot sign: {why}", hint=hint)


def _first_line(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), "")
