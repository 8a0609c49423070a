"""A service for WASI 0.2."""

import asyncio
import json
from urllib.parse import parse_qs, urlsplit

from componentize_py_types import Ok
from poll_loop import PollLoop, Sink, Stream
from wit_world import exports
from wit_world.imports.types import (
    Fields,
    IncomingRequest,
    Method_Get,
    Method_Post,
    OutgoingResponse,
    ResponseOutparam,
)


class IncomingHandler(exports.IncomingHandler):
    def handle(self, request: IncomingRequest, response_out: ResponseOutparam) -> None:
        loop = PollLoop()
        asyncio.set_event_loop(loop)
        loop.run_until_complete(answer(request, response_out))


async def answer(request: IncomingRequest, out: ResponseOutparam) -> None:
    url = urlsplit(request.path_with_query() or "/")
    match request.method(), url.path.rpartition("/")[2]:
        case Method_Get(), "json":
            name = parse_qs(url.query).get("name", ["nobody"])[0]
            await respond(out, 200, "application/json", json.dumps({"language": "Python", "name": name}).encode())
        case Method_Post(), "echo":
            types = request.headers().get("content-type")
            await respond(out, 200, types[0].decode() if types else "text/plain", await read(request))
        case Method_Get(), "error":
            raise ValueError("an error on purpose")
        case _:
            await respond(out, 404, "text/plain", b"not found\n")


async def read(request: IncomingRequest) -> bytes:
    stream = Stream(request.consume())
    body = bytearray()
    while (chunk := await stream.next()) is not None:
        body += chunk
    return bytes(body)


async def respond(out: ResponseOutparam, status: int, content_type: str, body: bytes) -> None:
    response = OutgoingResponse(Fields.from_list([("content-type", content_type.encode())]))
    response.set_status_code(status)
    sink = Sink(response.body())
    ResponseOutparam.set(out, Ok(response))
    await sink.send(body)
    sink.close()
