"""An application as a user writes one, with Oyez mounted in FastAPI; all functions of its system fail.

A program: it prints its address, serves until it is stopped, and configures no logging of its own.
"""

import os
import time
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import uvicorn
from fastapi import FastAPI
from sqlalchemy import Column, MetaData, String, Table, insert
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from oyez.contract import Command, Contract, Id, Identity, auth, own, query, resolved
from oyez.contract.policy import NOTHING, Known, Own, Values, Verdict
from oyez.errors import SettingsError
from oyez.runtime import Client, Hooks
from oyez.service.app import Oyez
from oyez.service.outbox.transaction import Transaction
from oyez.service.system import Services, System, SystemServices
from oyez.settings import load_settings

SECRET = os.environ["JWT_SECRET"]


@dataclass(frozen=True)
class FailingRule(Own):
    """A rule of a system's own."""

    def decide(self, identity: Identity, values: Values, known: Known = NOTHING) -> Verdict:
        claims = dict(identity.claims)
        raise ZeroDivisionError(f"rule of {len(claims)} claims")


contract = Contract("faulty", roles=("user",), default_role="user", tokens=(auth("token"), query("token")))
contract.user_attribute("taste", "What the user likes.")
root, tasting = contract.namespace("/"), contract.namespace("/tasting")
root.room("user:{userId}", members=own("userId", claim="sub"), on_connect=True)
root.room("board:{boardId}", members=FailingRule("boardId", "sub"), join="join_board")
tasting.room("taste:{taste}", members=resolved("taste", "taste"), on_connect=True)
notes = Table("notes", MetaData(), Column("text", String, primary_key=True))


@root.command("fail")
class Fail(Command):
    """Fail."""

    text: Id


@root.command("insert")
class Insert(Command):
    """Violate a constraint of the database."""

    text: Id


@root.command("plan")
class Plan(Command):
    """Schedule a job that fails."""

    text: Id


def insert_twice(tx: Transaction, text: str) -> None:
    for _ in range(2):
        tx.connection.execute(insert(notes).values(text=text))


def schedule(tx: Transaction, text: str) -> None:
    tx.schedule("fail", "key", time.time(), {"text": text})


def build(services: Services) -> SystemServices:
    token = services.signer.sign_user("ada", None, {}, 60.0)

    async def look_up(identity: Identity) -> str | None:
        raise KeyError(f"no taste for {token}")

    async def fail(command: Fail, client: Client) -> None:
        text, own_token = command.text, token
        raise ZeroDivisionError(f"handler with {len(text)} and {own_token}")

    async def do_insert(command: Insert, client: Client) -> None:
        await services.outbox.run(insert_twice, command.text)

    async def plan(command: Plan, client: Client) -> None:
        await services.outbox.run(schedule, command.text)

    def do_job(tx: Transaction, key: str, data: dict[str, Any]) -> None:
        text, own_token = data["text"], token
        raise ZeroDivisionError(f"job with {len(text)} and {len(own_token)}")

    async def connected(client: Client) -> None:
        query = client.socket.handshake.query_string
        # A client for which this fails is not let in.
        if "fail=connected" in query:
            raise ZeroDivisionError(f"connected with {query}")

    async def expiring(client: Client) -> None:
        own_token = token
        raise ZeroDivisionError(f"expiring {len(own_token)}")

    def ending(client: Client, reason: str) -> None:
        own_token = token
        raise ZeroDivisionError(f"ending {reason} {len(own_token)}")

    def disconnected(client: Client, reason: str) -> None:
        own_token = token
        raise ZeroDivisionError(f"disconnected {reason} {len(own_token)}")

    async def route(request: Request) -> Response:
        body, authorization = await request.body(), request.headers["authorization"]
        raise ZeroDivisionError(f"route with {len(body)} and {authorization}")

    return SystemServices(
        handlers={Fail: fail, Insert: do_insert, Plan: plan},
        resolvers={"taste": look_up},
        hooks=Hooks(
            connected=connected, expiring=expiring, expiring_before=60.0, ending=ending, disconnected=disconnected
        ),
        jobs={"fail": do_job},
        routes=[Route("/fail", route, methods=["POST"])],
    )


def build_nothing(services: Services) -> SystemServices:
    secret = services.settings.jwt_secret
    raise ZeroDivisionError(f"build {services.settings} {len(secret or '')}")


settings = load_settings()
try:
    Oyez([System(contract=contract, build=build_nothing)], settings)
except SettingsError:
    traceback.print_exc()

oyez = Oyez([System(contract=contract, build=build, tables=notes.metadata)], settings)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with oyez.running():
        yield


app = FastAPI(lifespan=lifespan)
app.mount("/live", oyez)

if __name__ == "__main__":
    uvicorn.run(app, port=0)
