"""Oyez's own secret, which signs service tokens and, if nothing else is set, users' tokens.

This module knows the setting and the file; `tokens.py` signs with the secret.
"""

import os
import secrets
import stat
from dataclasses import dataclass, field, replace
from pathlib import Path

from joserfc import jwk

from oyez.errors import SettingsError
from oyez.service.auth.keys import HS256, Key
from oyez.service.data_folder import check_reachable, explain_rights
from oyez.settings import MIN_SECRET_BYTES, Settings, clean_text, split_secret


@dataclass(frozen=True, slots=True)
class Secret:
    """The HS256 secret. `made` is True if this process has just created it in `path`."""

    value: str = field(repr=False)
    """One secret, or several, separated by spaces: the first signs, and all of them verify."""
    path: Path | None = None
    made: bool = False


def load_secret(settings: Settings, *, make: bool = True) -> Secret:
    """`jwt_secret` if it is set; otherwise the secret in the data folder's file `jwt-secret`, made on first use.

    Raises SettingsError if the secret is too short or the file cannot be made, read, or kept from others.
    """
    if settings.jwt_secret is not None:
        secret = Secret(clean_text("jwt_secret", settings.jwt_secret))
    else:
        path = settings.data_folder / "jwt-secret"
        check_reachable(path.parent)
        try:
            if not make and not path.exists():
                raise SettingsError(
                    f"There is no secret in {path.parent.resolve()}, where this command looks for the server's data."
                    " Run it in the folder in which `oyez serve` was started, name the server's folder with"
                    " --oyez-data, or set JWT_SECRET as the server has it."
                )
            made = not path.exists() and _make_secret_file(path)
            secret = Secret(_read_secret_file(path), path, made)
        except PermissionError:
            raise SettingsError(explain_rights(path if path.exists() else path.parent)) from None
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise SettingsError(
                f"The secret in {path} cannot be used: {reason}. "
                "Mend it, name another folder by OYEZ_DATA, or set JWT_SECRET."
            ) from None
    secret_key(secret.value)
    return secret


def _make_secret_file(path: Path) -> bool:
    """True if this call has created the file, False if another process was faster."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_hex(MIN_SECRET_BYTES) + "\n")
            file.flush()
            os.fsync(file.fileno())
        # Unlike a rename, a link never replaces; unlike writing in place, no process can read half a secret.
        path.hardlink_to(draft)
    except FileExistsError:
        return False
    finally:
        draft.unlink(missing_ok=True)
    return True


def _read_secret_file(path: Path) -> str:
    with path.open(encoding="utf-8-sig") as file:
        mode = os.fstat(file.fileno()).st_mode & 0o777
        if mode & 0o077 & ~_group_bits(path, os.fstat(file.fileno()).st_gid):
            raise SettingsError(
                f"{path} is open to other users of this machine (mode {mode:04o}). Run `chmod 600 {path}`;"
                " if somebody may have read it, delete it instead and a new secret is made."
            )
        return clean_text(str(path), file.read().strip())


def _group_bits(path: Path, group: int) -> int:
    """The rights of a file's group: read and write in a volume that belongs to the group, otherwise none.

    Kubernetes does so for `fsGroup`: the folder has this group and the set-group-ID bit, its files the group's rights.
    """
    folder = path.parent.stat()
    is_ours = group in (os.getegid(), *os.getgroups())
    return 0o060 if is_ours and folder.st_gid == group and folder.st_mode & stat.S_ISGID else 0


def secret_key(secret: str) -> Key:
    """The HS256 key of a secret, or of several. Raises SettingsError if one is short, or is a public key."""
    first, *older = [_secret_key(each) for each in split_secret(secret)]
    return replace(first, older=tuple(older))


def _secret_key(secret: str) -> Key:
    if (size := len(secret.encode())) < MIN_SECRET_BYTES:
        raise SettingsError(
            f"The JWT secret has {size} bytes; HS256 needs at least {MIN_SECRET_BYTES}."
            " Make one with `openssl rand -hex 32` and set JWT_SECRET to it."
        )
    # A public key is no secret: everyone could sign with it (RFC 8725, section 2.1).
    if "-----BEGIN" in secret:
        raise SettingsError("The JWT secret is a PEM key. Put it in a file and set JWT_KEY_FILE to its path.")
    try:
        return Key(jwk.OctKey.import_key(secret), HS256)
    except ValueError as error:
        raise SettingsError(f"The JWT secret cannot be used: {error}. Use JWT_KEY_FILE for public keys.") from None
