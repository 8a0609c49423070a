// The cart: quantities by product id, in the storage of the browser, so that all tabs have the same one.

const KEY = "cart";
const MOST = 1_000_000;
const listeners = [];

/** The lines of the cart: `[[id, quantity], …]`. Ignores what is not a cart. */
export function lines() {
    let stored;
    try {
        stored = JSON.parse(localStorage.getItem(KEY));
    } catch {
        stored = null;
    }
    const isCount = (number) => Number.isInteger(number) && number >= 1 && number <= MOST;
    const entries = Object.entries(stored ?? {}).map(([id, quantity]) => [Number(id), quantity]);
    return entries.filter(([id, quantity]) => Number.isInteger(id) && id > 0 && isCount(quantity));
}

/** Sets the quantity of a product. 0 removes it. */
export function set(id, quantity) {
    const cart = new Map(lines());
    if (quantity > 0) cart.set(id, Math.min(quantity, MOST));
    else cart.delete(id);
    localStorage.setItem(KEY, JSON.stringify(Object.fromEntries(cart)));
    listeners.forEach((listener) => listener());
}

export const add = (id) => set(id, (new Map(lines()).get(id) ?? 0) + 1);

export function clear() {
    localStorage.removeItem(KEY);
    listeners.forEach((listener) => listener());
}

/** Calls `listener` whenever the cart changes, also in another tab. */
export function onCart(listener) {
    listeners.push(listener);
    addEventListener("storage", (event) => event.key === KEY && listener());
}
