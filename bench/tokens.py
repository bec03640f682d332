"""The secret, the users' tokens and the service token of one run."""

import os
import secrets
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from joserfc import jwt
from joserfc.jwk import OctKey

from bench.children import BenchError

LIFETIME = 3600
USERS = 1000


def make_secret() -> str:
    return secrets.token_urlsafe(32)


def write_tokens(path: Path, secret: str, users: int = USERS, role: str = "user") -> None:
    """One signed token a line, for user-0, user-1, ..."""
    key = OctKey.import_key(secret)
    now = int(time.time())
    claims = {"role": role, "iat": now, "exp": now + LIFETIME}
    lines = [jwt.encode({"alg": "HS256"}, {"sub": f"user-{index}", **claims}, key) for index in range(users)]
    path.write_text("\n".join(lines) + "\n")
    path.chmod(0o600)


def make_service_token(contract: Path, environ: Mapping[str, str], folder: Path) -> str:
    """The publisher's token, from the program that users would take it from."""
    program = Path(sys.executable).with_name("oyez")
    command = [str(program), "token", str(contract), "--service"]
    result = subprocess.run(
        command, capture_output=True, text=True, check=False, env=dict(os.environ) | dict(environ), cwd=folder
    )
    if result.returncode != 0 or not result.stdout.strip():
        last = result.stderr.strip().rpartition("\n")[2]
        raise BenchError(f"`oyez token {contract.name} --service` failed: {last or 'it said nothing'}")
    return result.stdout.split()[-1]
