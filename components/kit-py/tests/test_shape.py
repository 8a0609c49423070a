import json
import unittest
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Annotated, Any, Literal

from comptoir import Length, Probe, Range, Reply, Request, define_service, empty, get, ok, post
from comptoir.testing import install

from . import serve


@dataclass
class Line:
    id: int
    pieces: Annotated[int, Range(1, 255)]


@dataclass
class Order:
    items: Annotated[list[Line], Length(0, 2)]
    note: Annotated[str, Length(0, 5)] | None = None
    colour: Literal["red", "blue"] = "red"
    weight: float = 0


@dataclass
class Filter:
    limit: Annotated[int, Range(1, 100)] = 10
    after: str | None = None
    all: bool | None = None
    low: float | None = None


class Shapes(unittest.TestCase):
    def test_a_body_becomes_its_dataclass_with_values_for_absent_fields(self) -> None:
        seen: list[Any] = []
        app = serve(post("/orders", "public", lambda request: ok(seen.append(request.json())), body=Order))
        app.post("/orders", {"items": [{"id": -1, "pieces": 2}], "note": None, "weight": 3})
        self.assertEqual(seen, [Order([Line(-1, 2)], None, "red", 3.0)])

    def test_a_wrong_field_is_named_by_its_path(self) -> None:
        def line(other: Any) -> Any:
            return {"items": [{"id": 1, "pieces": 1}, other]}

        table: list[tuple[Any, str]] = [
            ([], "The body must be an object."),
            ({"items": {}}, "The field items must be an array."),
            ({"items": [1, 2, 3]}, "The field items must have at most 2 items."),
            (line(7), "The field items[1] must be an object."),
            (line({"id": 1}), "The field items[1].pieces is missing."),
            (line({"id": 1.5, "pieces": 1}), "The field items[1].id must be an integer."),
            (line({"id": True, "pieces": 1}), "The field items[1].id must be an integer."),
            (line({"id": 2**63, "pieces": 1}), "The field items[1].id must be an integer."),
            (line({"id": 1, "pieces": 256}), "The field items[1].pieces must be an integer from 1 to 255."),
            (line({"id": 1, "pieces": 1, "size": 3}), "The field items[1].size is unknown."),
            ({"items": [], "note": "longer"}, "The field note must have at most 5 characters."),
            ({"items": [], "note": "a\0"}, "The field note must not contain U+0000."),
            ({"items": [], "note": "\ud800"}, "The field note must not contain unpaired surrogates."),
            ({"items": [], "colour": "pink"}, "The field colour must be one of red, blue."),
            ({"items": [], "colour": None}, "The field colour must be a string."),
            ({"items": [], "weight": 10**400}, "The field weight must be a number."),
            ({"items": [], "a\nb": 7}, "The field a?b is unknown."),
            ({"colour": 7, "a": 1}, "The field items is missing."),
            ({"note": "longer", "colour": 7, "items": []}, "The field note must have at most 5 characters."),
            ({"a": 1, "items": [], "colour": 7}, "The field colour must be a string."),
        ]
        app = serve(post("/orders", "public", lambda request: ok(request.json()), body=Order))
        for sent, expected in table:
            refused = app.post("/orders", sent)
            self.assertEqual((refused.outcome, refused.body["error"]["message"]), ((422, "INVALID_FIELD"), expected))

    def test_the_query_becomes_its_dataclass_and_a_wrong_parameter_is_named(self) -> None:
        app = serve(get("/things", "public", lambda request: ok(request.query_fields()), query=Filter))
        self.assertEqual(app.get("/things").body["data"], {"limit": 10, "after": None, "all": None, "low": None})
        data = app.get("/things?limit=5&after=a%20b&all=true&low=-1.5").body["data"]
        self.assertEqual(data, {"limit": 5, "after": "a b", "all": True, "low": -1.5})
        table = [
            ("limit=x", "The query parameter limit must be an integer from 1 to 100."),
            ("all=1", "The query parameter all must be a boolean."),
            ("limit=1&limit=2", "The query parameter limit is given twice."),
            ("other=1", "The query parameter other is unknown."),
        ]
        for query, expected in table:
            refused = app.get(f"/things?{query}")
            self.assertEqual((refused.outcome, refused.body["error"]["message"]), ((400, "INVALID_QUERY"), expected))


@dataclass
class Tag:
    name: Annotated[str, Length(1, 9)]


@dataclass
class Thing:
    id: Annotated[int, Range(1)]
    tags: list[Tag] = field(default_factory=list)


def list_things(_: Request) -> Reply:
    """Everyone sees them."""
    return empty()


Service, Handler = define_service(
    "things",
    version="1.2.3",
    migrations=["CREATE TABLE a (id INTEGER) STRICT", "CREATE TABLE b (id INTEGER) STRICT"],
    probes=[Probe("get", "/things", caller="ada"), Probe("post", "/things", body={"id": 1})],
    routes=[
        get("/things", "public", list_things, query=Filter, lists=Thing, headers=["x-a"]),
        post("/things/{id}", "user", lambda _: empty(), body=Thing, creates=Thing, errors={422: {"FULL": "There is no room."}}),
        post("/jobs", "internal", lambda _: empty(), body=Order),
    ],
)


class Description(unittest.TestCase):
    def test_the_description_has_the_route_table_the_migrations_and_the_probes(self) -> None:
        described = install(SimpleNamespace(Service=Service, Handler=Handler)).description
        self.assertEqual((described.name, described.version, described.health), ("things", "1.2.3", "/health"))
        routes = [(route.method.name, route.path, route.access.name, route.headers) for route in described.routes]
        self.assertEqual(routes[0], ("GET", "/things", "PUBLIC", ["x-a"]))
        self.assertEqual(routes[2], ("POST", "/jobs", "INTERNAL", []))
        self.assertEqual([step.version for step in described.migrations], [1, 2])
        self.assertEqual((described.schema.minimum, described.schema.maximum), (2, 2))
        probes = [(probe.method.name, probe.path, probe.caller, probe.body) for probe in described.probes]
        self.assertEqual(probes, [("GET", "/things", "ada", None), ("POST", "/things", None, '{"id":1}')])

    def test_the_document_has_an_operation_for_each_route_that_clients_may_call(self) -> None:
        document = json.loads(Service().describe().documentation)
        self.assertEqual(list(document["operations"]), ["GET /things", "POST /things/{id}"])
        first, second = document["operations"].values()
        self.assertEqual((first["operationId"], first["summary"]), ("list_things", "List things"))
        self.assertEqual(first["description"], "Everyone sees them.")
        self.assertEqual(second["operationId"], "post_things_id")
        limit = {"type": "integer", "format": "int64", "minimum": 1, "maximum": 100}
        self.assertEqual(first["parameters"][0], {"name": "limit", "in": "query", "required": False, "schema": limit})
        self.assertEqual(first["parameters"][1]["schema"], {"type": "string"})
        body = second["requestBody"]["content"]["application/json"]["schema"]
        self.assertEqual(body, {"$ref": "#/components/schemas/Thing"})
        self.assertEqual((list(second["responses"]), list(second["errors"]["422"])), (["201"], ["INVALID_FIELD", "FULL"]))
        self.assertEqual(sorted(document["schemas"]), ["Tag", "Thing"])
        name = {"type": "string", "minLength": 1, "maxLength": 9}
        tag = {"type": "object", "properties": {"name": name}, "additionalProperties": False, "required": ["name"]}
        self.assertEqual(document["schemas"]["Tag"], tag)
        self.assertEqual(list(document["errors"]), ["503"])

    def test_a_type_that_a_body_cannot_have_fails_at_the_build(self) -> None:
        @dataclass
        class Odd:
            when: complex

        with self.assertRaisesRegex(TypeError, "a body cannot have the type"):
            define_service("x", routes=[post("/a", "public", lambda _: empty(), body=Odd)])
        other = type("Thing", (), {})
        routes = [get("/a", "public", lambda _: empty(), gives=Thing), get("/b", "public", lambda _: empty(), gives=other)]
        with self.assertRaisesRegex(ValueError, "there are two types Thing"):
            define_service("x", routes=routes)
