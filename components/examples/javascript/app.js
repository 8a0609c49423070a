addEventListener("fetch", (event) => event.respondWith(answer(event.request)));

async function answer(request) {
  const { pathname, searchParams } = new URL(request.url);
  switch (`${request.method} ${pathname}`) {
    case "GET /javascript":
      return new Response("Hello from JavaScript\n");
    case "POST /javascript/echo":
      return new Response(request.body, { headers: { "content-type": request.headers.get("content-type") ?? "application/octet-stream" } });
    case "GET /javascript/json":
      return Response.json({ language: "JavaScript", name: searchParams.get("name") });
    case "GET /javascript/error":
      throw new Error("an error on purpose");
    default:
      return new Response("not found\n", { status: 404 });
  }
}
