// Uses `wasi:http` itself instead of the fetch event. So an instance can answer many requests, and the service has `reuse` in the manifest.
import { Fields, OutgoingBody, OutgoingResponse, ResponseOutparam } from "wasi:http/types@0.2.12";

const mount = "/javascript-wasi";

// Not an answer to one caller: how many requests this instance has answered.
let requests = 0;

export const incomingHandler = {
  handle(request, out) {
    requests += 1;
    const [path, query] = (request.pathWithQuery() ?? "").split("?");
    switch (`${request.method().tag} ${path}`) {
      case `get ${mount}`:
        return answer(out, 200, "text/plain", new TextEncoder().encode(`Hello from JavaScript, request ${requests}\n`));
      case `get ${mount}/json`: {
        const name = new URLSearchParams(query).get("name");
        return answer(out, 200, "application/json", new TextEncoder().encode(JSON.stringify({ language: "JavaScript", name })));
      }
      case `post ${mount}/echo`: {
        const [type] = request.headers().get("content-type");
        return answer(out, 200, type ? new TextDecoder().decode(type) : "application/octet-stream", read(request));
      }
      case `get ${mount}/error`:
        throw new Error("an error on purpose");
      default:
        return answer(out, 404, "text/plain", new TextEncoder().encode("not found\n"));
    }
  },
};

// The whole body of a request.
function read(request) {
  const body = request.consume();
  const stream = body.stream();
  const parts = [];
  try {
    for (;;) parts.push(stream.blockingRead(65536n));
  } catch (error) {
    if (error.payload?.tag !== "closed") throw error;
  }
  stream[Symbol.dispose]();
  return new Uint8Array(parts.flatMap((part) => [...part]));
}

function answer(out, status, type, bytes) {
  const response = new OutgoingResponse(Fields.fromList([["content-type", new TextEncoder().encode(type)]]));
  response.setStatusCode(status);
  const body = response.body();
  ResponseOutparam.set(out, { tag: "ok", val: response });
  const stream = body.write();
  // A stream takes 4096 bytes at once.
  for (let at = 0; at < bytes.length; at += 4096) stream.blockingWriteAndFlush(bytes.subarray(at, at + 4096));
  stream[Symbol.dispose]();
  OutgoingBody.finish(body, undefined);
}
