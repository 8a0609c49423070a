// Todos: everyone sees them, and every user has their own.

import {
  HttpError, StorageError, array, boolean, created, defineService, del, empty, get, int, list, object, ok, oneOf, optional, post,
  put, query, queryOne, text,
} from "./comptoir/index.js";
import first from "./migrations/1.js";

const Todo = object("Todo", { id: int(1), owner: text(1), title: text(1, 200), done: boolean() });
const NewTodo = object("NewTodo", { title: text(1, 200) });
const NewTodos = object("NewTodos", { titles: array(text(1, 200), 1, 100) });
const Change = object("Change", { done: boolean() });
const Filter = object("Filter", { state: optional(oneOf("open", "done")) });

const MISSING = { 404: { TODO_NOT_FOUND: "The caller has no such todo." } };
const TWICE = { 409: { TODO_EXISTS: "The caller has a todo with this title." } };

export const { service, handler } = defineService({
  name: "todo-service",
  health: "/health",
  migrations: [first],
  routes: [
    get("/todos", "public", listTodos, { query: Filter, lists: Todo }),
    get("/todos/{id}", "public", showTodo, { gives: Todo, errors: MISSING }),
    post("/todos", "user", createTodo, { body: NewTodo, creates: Todo, errors: TWICE }),
    post("/todos/import", "user", importTodos, { summary: "Create all of these todos or none", body: NewTodos, errors: TWICE }),
    put("/todos/{id}", "user", changeTodo, { body: Change, gives: Todo, errors: MISSING }),
    del("/todos/{id}", "admin", deleteTodo, { errors: MISSING }),
  ],
});

function listTodos(request) {
  const { state } = request.queryFields();
  const wanted = state === null ? null : state === "done";
  const sql = "SELECT id, owner, title, done FROM todos WHERE $1 IS NULL OR done = $1 ORDER BY id DESC LIMIT 100";
  return list(query(sql, [wanted]).map(todoOf));
}

function showTodo(request) {
  return ok(found(queryOne("SELECT id, owner, title, done FROM todos WHERE id = $1", [request.id("id")])));
}

function createTodo(request) {
  const { title } = request.json();
  return created(request.transaction((transaction) => insert(transaction, request.user.username, title)));
}

function importTodos(request) {
  const { titles } = request.json();
  request.transaction((transaction) => titles.forEach((title) => insert(transaction, request.user.username, title)));
  return empty();
}

function changeTodo(request) {
  const { done } = request.json();
  const sql = "UPDATE todos SET done = $1 WHERE id = $2 AND owner = $3 RETURNING id, owner, title, done";
  const values = [done, request.id("id"), request.user.username];
  return ok(found(request.transaction((transaction) => transaction.queryOne(sql, values))));
}

function deleteTodo(request) {
  const sql = "DELETE FROM todos WHERE id = $1 RETURNING id, owner, title, done";
  found(request.transaction((transaction) => transaction.queryOne(sql, [request.id("id")])));
  return empty();
}

function insert(transaction, owner, title) {
  const sql = "INSERT INTO todos (owner, title) VALUES ($1, $2) RETURNING id, owner, title, done";
  try {
    return todoOf(transaction.queryOne(sql, [owner, title]));
  } catch (error) {
    if (!(error instanceof StorageError) || error.constraint !== "unique") throw error;
    throw new HttpError(409, "TODO_EXISTS", "You have a todo with this title.", { details: { title } });
  }
}

function found(row) {
  if (row === undefined) throw new HttpError(404, "TODO_NOT_FOUND", "There is no such todo.");
  return todoOf(row);
}

// SQL stores a boolean as 0 or 1.
function todoOf(row) {
  return { ...row, done: row.done === 1 };
}
