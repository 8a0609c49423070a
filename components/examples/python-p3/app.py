"""A service for WASI 0.3."""

import json
from urllib.parse import parse_qs, urlsplit

import componentize_py_async_support
import wit_world
from componentize_py_async_support.streams import ByteStreamWriter
from componentize_py_types import Ok
from wit_world import exports
from wit_world.imports.wasi_http_types import Fields, Method_Get, Method_Post, Request, Response


class Handler(exports.Handler):
    async def handle(self, request: Request) -> Response:
        url = urlsplit(request.get_path_with_query() or "/")
        match request.get_method(), url.path.rpartition("/")[2]:
            case Method_Get(), "json":
                name = parse_qs(url.query).get("name", ["nobody"])[0]
                return respond(200, "application/json", json.dumps({"language": "Python", "name": name}).encode())
            case Method_Post(), "echo":
                types = request.get_headers().get("content-type")
                return respond(200, types[0].decode() if types else "text/plain", await read(request))
            case Method_Get(), "error":
                raise ValueError("an error on purpose")
            case _:
                return respond(404, "text/plain", b"not found\n")


async def read(request: Request) -> bytes:
    result = wit_world.result_unit_wasi_http_types_error_code_future(lambda: Ok(None))[1]
    reader, _ = Request.consume_body(request, result)
    body = bytearray()
    with reader:
        while not reader.writer_dropped:
            body += await reader.read(16 * 1024)
    return bytes(body)


def respond(status: int, content_type: str, body: bytes) -> Response:
    writer, reader = wit_world.byte_stream()
    no_trailers = wit_world.result_option_wasi_http_types_fields_wasi_http_types_error_code_future(lambda: Ok(None))[1]
    response, _ = Response.new(Fields.from_list([("content-type", content_type.encode())]), reader, no_trailers)
    response.set_status_code(status)
    componentize_py_async_support.spawn(write(writer, body))
    return response


async def write(writer: ByteStreamWriter, body: bytes) -> None:
    with writer:
        await writer.write_all(body)
