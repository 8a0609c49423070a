// Talks to the shop. The access token is in this module's memory and nowhere else. The refresh token is in a cookie that no script sees.

let token = null;
let user = null;
const listeners = [];
const answered = [];

/** Whether this browser has signed in. Only a hint, so that anonymous visitors do not ask for a session that they do not have. */
const HINT = "signed-in";

/** The user who is signed in: `{ name, isAdmin }`, or null. */
export const who = () => user;

/** Calls `listener` whenever the user changes. */
export const onUser = (listener) => listeners.push(listener);

/** Calls `listener` with the headers of every answer. */
export const onAnswer = (listener) => answered.push(listener);

/** An answer that is no success. */
export class Refused extends Error {
    constructor(status, error) {
        super(error?.message ?? `The shop answered ${status}.`);
        this.status = status;
        this.code = error?.code;
    }
}

async function send(method, path, { body, headers } = {}) {
    const options = { method, headers: { ...headers }, credentials: "same-origin", cache: "no-cache" };
    if (body !== undefined) {
        options.headers["content-type"] = "application/json";
        options.body = JSON.stringify(body);
    }
    let response;
    try {
        response = await fetch(path, options);
    } catch {
        throw new Error("The shop cannot be reached. Try again.");
    }
    answered.forEach((listener) => listener(response.headers));
    const type = response.headers.get("content-type") ?? "";
    const answer = type.includes("json") ? await response.json() : {};
    if (!response.ok) throw new Refused(response.status, answer.error);
    return { ...answer, next: next(response.headers.get("link")) };
}

/** The address of the next page in a `Link` header (RFC 8288). */
function next(link) {
    return /<([^>]*)>\s*;\s*rel="?next"?/.exec(link ?? "")?.[1] ?? null;
}

/** Sends a request as the user who is signed in. Renews the access token once if it has expired. */
export async function api(method, path, body, headers) {
    const as = () => ({ body, headers: token ? { ...headers, authorization: `Bearer ${token}` } : headers });
    try {
        return await send(method, path, as());
    } catch (error) {
        if (!(error instanceof Refused) || error.status !== 401 || !token || error.code === "INVALID_CREDENTIALS") throw error;
        if (!(await renew())) throw new Error("Your session has ended. Sign in again.");
        return send(method, path, as());
    }
}

/** All items of a list, page by page, up to `most`. */
export async function list(path, most = 1000) {
    const items = [];
    for (let next = path; next && items.length < most;) {
        const page = await api("GET", next);
        items.push(...page.data);
        next = page.next;
    }
    return items;
}

const session = (method, body) => send(method, "/session", { body, headers: { "x-front": "1" } });

export async function signIn(username, password) {
    accept(await session("POST", { username, password }));
}

export async function signOut() {
    try {
        await session("DELETE");
    } finally {
        forget();
    }
}

/** Takes up the session of the cookie, when a page is opened. */
export async function resume() {
    if (localStorage.getItem(HINT)) await renew();
}

/**
 * Exchanges the refresh token. Each one works once, so the tabs take turns. If another tab was faster all the same, the cookie is new
 * by now, and the second attempt succeeds.
 */
async function renew() {
    const turn = async () => {
        for (let attempt = 0; attempt < 2; attempt++) {
            try {
                accept(await session("PUT"));
                return true;
            } catch (error) {
                if (!(error instanceof Refused) || error.status !== 401) throw error;
            }
        }
        forget();
        return false;
    };
    // Locks exist on TLS and on localhost only.
    return navigator.locks ? navigator.locks.request("session", turn) : turn();
}

function accept({ data }) {
    token = data.access_token;
    const claims = read(token);
    localStorage.setItem(HINT, "1");
    change({ name: claims.sub, isAdmin: (claims.roles ?? []).includes("admin") });
}

/** Forgets the session on this page. */
export function forget() {
    token = null;
    localStorage.removeItem(HINT);
    change(null);
}

function change(next) {
    user = next;
    listeners.forEach((listener) => listener(user));
}

/** The claims of a token, for display. Only the host decides what they allow. */
function read(jwt) {
    const text = atob(jwt.split(".")[1].replaceAll("-", "+").replaceAll("_", "/"));
    return JSON.parse(new TextDecoder().decode(Uint8Array.from(text, (letter) => letter.charCodeAt(0))));
}

/** A key by which the shop recognises a retry. */
export function idempotencyKey() {
    return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
