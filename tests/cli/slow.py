"""A system with a handler that takes longer than a stop takes otherwise; as a program, mounted in FastAPI."""

import asyncio
import socket

import uvicorn
from fastapi import FastAPI

from oyez.contract import Command, Contract
from oyez.runtime import Client
from oyez.service.app import Oyez
from oyez.settings import load_settings
from oyez.systems.loader import load_system

SECONDS = 2.8

contract = Contract("slow", roles=("user",), default_role="user")
root = contract.namespace("/")


@root.command("work")
class Work(Command):
    """Do something that takes long."""


async def work(command: Work, client: Client) -> None:
    print("working", flush=True)
    await asyncio.sleep(SECONDS)


handlers = {Work: work}

if __name__ == "__main__":
    oyez = Oyez([load_system(__file__)], load_settings())
    app = FastAPI(lifespan=lambda app: oyez.running())
    app.mount("/", oyez)
    listening = socket.create_server(("127.0.0.1", 0))
    print(f"listens at http://127.0.0.1:{listening.getsockname()[1]} (Ctrl-C stops it)", flush=True)
    uvicorn.Server(uvicorn.Config(app, log_level="warning")).run([listening])
