import json
import unittest
from collections.abc import Callable
from typing import Any

from comptoir import (
    HttpError,
    Reply,
    Request,
    StorageError,
    created,
    define_service,
    delete,
    empty,
    get,
    listing,
    message,
    ok,
    post,
    put,
    query,
    raw,
    redirect,
)

from . import log_of, serve


def raising(error: Exception) -> Callable[[Request], Reply]:
    def handler(_: Request) -> Reply:
        raise error

    return handler


class Replies(unittest.TestCase):
    def test_replies_have_the_envelope_of_the_rust_kit(self) -> None:
        table: list[tuple[Reply, tuple[int, str | None, str]]] = [
            (ok({"id": 1}), (200, "application/json", '{"success":true,"data":{"id":1}}')),
            (listing(["a", "b"]), (200, "application/json", '{"success":true,"data":["a","b"],"count":2}')),
            (message("Gone."), (200, "application/json", '{"success":true,"message":"Gone."}')),
            (created(1).with_message('"é"'), (201, "application/json", '{"success":true,"data":1,"message":"\\"é\\""}')),
            (raw("text/csv", "a,b\n"), (200, "text/csv", "a,b\n")),
            (raw("image/png", b"png"), (200, "image/png", "png")),
            (empty(), (204, None, "")),
        ]
        for reply, expected in table:
            seen = serve(get("/x", "public", lambda _, reply=reply: reply)).get("/x")
            self.assertEqual((seen.status, seen.headers.get("content-type"), seen.text), expected)
        seen = serve(get("/x", "public", lambda _: redirect("/ok"))).get("/x")
        self.assertEqual((seen.status, seen.headers), (303, {"location": "/ok"}))

    def test_a_cookie_is_safe_by_default(self) -> None:
        cookie = ok(1).with_cookie("cat", "Tom; é", max_age=60).with_status(202)
        seen = serve(get("/cat", "public", lambda _: cookie)).get("/cat")
        expected = "cat=Tom%3B%20%C3%A9; Path=/; Secure; SameSite=Lax; HttpOnly; Max-Age=60"
        self.assertEqual((seen.status, seen.headers["set-cookie"]), (202, expected))

    def test_an_error_has_the_envelope_and_a_401_its_challenge(self) -> None:
        gone = HttpError(404, "NO_CAT", "There is no such cat.", details={"cat": 7})
        later = HttpError(503, "LATER", "Later.", retry_after=7, headers={"x-cat": "1"})
        app = serve(
            get("/gone", "public", raising(gone)),
            get("/who", "public", raising(HttpError(401, "NO_NAME", "Who are you?"))),
            get("/later", "public", raising(later)),
        )
        error = {"code": "NO_CAT", "message": "There is no such cat.", "details": {"cat": 7}}
        self.assertEqual((app.get("/gone").status, app.get("/gone").body), (404, {"success": False, "error": error}))
        self.assertEqual(app.get("/who").headers["www-authenticate"], "Bearer")
        headers = app.get("/later").headers
        self.assertEqual((headers["retry-after"], headers["x-cat"]), ("7", "1"))


class Failures(unittest.TestCase):
    def test_the_client_sees_no_text_of_a_storage_error(self) -> None:
        table = [
            ("busy", 503, "STORAGE_BUSY", "1"),
            ("timed-out", 503, "STORAGE_TIMED_OUT", "1"),
            ("unavailable", 503, "STORAGE_UNAVAILABLE", "5"),
            ("constraint", 500, "INTERNAL_ERROR", None),
            ("denied", 500, "INTERNAL_ERROR", None),
            ("too-large", 500, "INTERNAL_ERROR", None),
            ("invalid", 500, "INTERNAL_ERROR", None),
        ]
        for kind, status, code, retry_after in table:
            app = serve(get("/x", "public", raising(StorageError(kind, "the text"))))
            seen: list[Any] = []
            log = log_of(lambda app=app, seen=seen: seen.append(app.get("/x")))
            self.assertEqual((*seen[0].outcome, seen[0].headers.get("retry-after")), (status, code, retry_after))
            self.assertNotIn("the text", seen[0].text)
            self.assertEqual("the text" in log, status == 500)

    def test_an_unknown_error_is_a_500_and_the_log_has_its_place_but_no_quoted_value(self) -> None:
        def bug(_: Request) -> Reply:
            return ok(int("secret"))

        app = serve(
            get("/bug", "public", bug),
            get("/nothing", "public", lambda _: None),  # type: ignore[arg-type, return-value]
            get("/big", "public", lambda _: ok(object())),
            get("/nan", "public", lambda _: ok(float("nan"))),
        )
        logs = {}
        for path in ["/bug", "/nothing", "/big", "/nan"]:
            logs[path] = log_of(lambda path=path: self.assertEqual(app.get(path).outcome, (500, "INTERNAL_ERROR")))
            self.assertEqual(logs[path].count("\n"), 1)
        self.assertRegex(logs["/bug"], r"^internal error: ValueError: invalid literal .* at bug \(.*test_service\.py:\d+\)")
        self.assertNotIn("secret", logs["/bug"])
        self.assertIn("the handler of GET /nothing returned no reply", logs["/nothing"])
        self.assertIn("cannot write a object as JSON", logs["/big"])


class Routes(unittest.TestCase):
    def test_the_most_specific_route_answers_and_other_methods_get_a_405(self) -> None:
        app = serve(
            get("/a/{x}", "public", lambda request: ok(request.param("x"))),
            get("/a/b", "public", lambda _: ok("literal")),
            put("/a/{x}", "public", lambda _: ok("put")),
            delete("/a/{x}", "public", lambda _: ok("delete")),
        )
        data = [app.get(path).body["data"] for path in ["/a/b", "/a/c%20d?x=1", "/a/%ff", "/a/%zz"]]
        self.assertEqual(data, ["literal", "c d", None, None])
        self.assertEqual(app.put("/a/b", {}).body["data"], "put")
        refused = app.post("/a/b", {})
        self.assertEqual((refused.outcome, refused.headers["allow"]), ((405, "METHOD_NOT_ALLOWED"), "GET, HEAD, PUT, DELETE"))
        self.assertEqual(app.get("/a/").outcome, (404, "NOT_FOUND"))

    def test_a_row_id_is_digits_of_64_bits(self) -> None:
        app = serve(get("/a/{id}", "public", lambda request: ok(request.id("id"))))
        self.assertEqual(app.get("/a/9223372036854775807").body["data"], 2**63 - 1)
        for path in ["abc", "-1", "1.0", "%D9%A3", "9223372036854775808", "9" * 5000]:
            self.assertIsNone(app.get(f"/a/{path}").body["data"], path)

    def test_the_stand_in_enforces_the_access_of_each_route(self) -> None:
        accesses: list[Any] = ["public", "user", "admin", "internal"]
        app = serve(*[get(f"/{access}", access, lambda _: empty()) for access in accesses])
        callers: list[dict[str, str]] = [{}, {"by": "ada"}, {"by": "root", "role": "admin"}, {"service": "orders"}]
        statuses = {access: [app.get(f"/{access}", **caller).status for caller in callers] for access in accesses}
        expected = [[204, 204, 204, 403], [401, 204, 204, 403], [401, 403, 204, 403], [404, 404, 404, 204]]
        self.assertEqual(list(statuses.values()), expected)

    def test_a_route_sees_its_caller_and_of_other_headers_those_that_it_declares(self) -> None:
        def headers(request: Request) -> Reply:
            return ok([request.header("x-a"), request.header("x-b"), request.cookie("cat"), request.cookie("at")])

        app = serve(
            get("/me", "public", lambda request: ok(request.user)), get("/one", "public", headers, headers=["x-a", "cookie"])
        )
        self.assertEqual(app.get("/me", by="ada").body["data"], {"username": "ada", "role": "user", "session": None})
        self.assertEqual(app.get("/me").outcome, (401, "MISSING_TOKEN"))
        seen = app.get("/one", headers={"x-a": "1", "x-b": "2", "cookie": "cats=1; cat=Tom=2 ;x"})
        self.assertEqual(seen.body["data"], ["1", None, "Tom=2", None])

    def test_a_session_that_has_ended_writes_nothing(self) -> None:
        def write(request: Request) -> Reply:
            with request.transaction() as transaction:
                return ok(transaction.execute("INSERT INTO things (name) VALUES ('a')"))

        app = serve(post("/things", "user", write), get("/things", "public", lambda _: listing(query("SELECT id FROM things"))))
        self.assertEqual(app.post("/things", {}, by="ada", session_ended=True).outcome, (401, "INVALID_TOKEN"))
        self.assertEqual(app.get("/things").body["count"], 0)
        self.assertEqual(app.post("/things", {}, by="ada").status, 200)
        self.assertEqual(app.get("/things").body["count"], 1)

    def test_the_health_request_asks_the_database(self) -> None:
        app = serve()
        self.assertEqual(app.get("/health").body, {"status": "healthy", "service": "things"})
        app.database.close()
        self.assertRegex(log_of(lambda: self.assertEqual(app.get("/health").status, 503)), "^health check failed")
        serve()

    def test_a_wrong_route_table_fails_at_the_build_and_names_the_route(self) -> None:
        with self.assertRaisesRegex(ValueError, "GET todos: the path of a route begins with /"):
            get("todos", "public", lambda _: empty())
        with self.assertRaisesRegex(ValueError, "GET /todos: the access is everyone, but must be"):
            get("/todos", "everyone", lambda _: empty())  # type: ignore[arg-type]
        routes = [get("/a/{x}", "user", lambda _: empty()), get("/a/{y}", "user", lambda _: empty())]
        with self.assertRaisesRegex(ValueError, r"two routes are GET /a/\{\}"):
            define_service("x", routes=routes)


class Bodies(unittest.TestCase):
    def test_a_body_that_is_not_json_is_a_400_with_the_reason(self) -> None:
        app = serve(post("/any", "public", lambda request: ok(request.json())))
        kind = "application/json"
        table = [
            (b"{}", None, "The body has no Content-Type. Send application/json."),
            (b"{}", "text/plain; charset=utf-8", 'The body\'s Content-Type is "text/plain". Send application/json.'),
            (b"{}", "application/jsonp", 'The body\'s Content-Type is "application/jsonp". Send application/json.'),
            (b"", kind, "The body is empty. Send a JSON object."),
            (b'{"a":', kind, "The body is not JSON."),
            (b'{"a":NaN}', kind, "The body is not JSON."),
            (b"\xef\xbb\xbf{}", kind, "The body is not JSON."),
            (b'"\xff"', kind, "The body is not JSON."),
            (b"[" * 500_000, kind, "The body has more than 128 levels of arrays and objects."),
            (b"[" * 128, kind, "The body is not JSON."),
            (b"{" * 129 + b'"' + b'\\"' * 500_000, kind, "The body has more than 128 levels of arrays and objects."),
            (b'"' + b'\\"[' * 300_000 + b"\\", kind, "The body is not JSON."),
            (b"9" * 10_000, kind, "The body is not JSON."),
        ]
        for body, content_type, expected in table:
            refused = app.send("post", "/any", body, headers={"content-type": content_type} if content_type else {})
            self.assertEqual(refused.outcome, (400, "INVALID_BODY"))
            self.assertEqual(refused.body["error"]["message"], expected)
        for accepted in ["Application/JSON; charset=utf-8", "application/problem+json"]:
            self.assertEqual(app.send("post", "/any", b"[1]", headers={"content-type": accepted}).status, 200)
        deep, wide = b"[" * 128 + b"]" * 128, json.dumps([{"[": "\\\"["}] * 1000).encode()
        for accepted_body in [deep, wide]:
            self.assertEqual(app.send("post", "/any", accepted_body, headers={"content-type": kind}).status, 200)
        long = json.dumps("x" * (1 << 20)).encode()
        self.assertEqual(app.send("post", "/any", long, headers={"content-type": kind}).outcome, (413, "BODY_TOO_LARGE"))
