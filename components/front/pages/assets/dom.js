// Makes elements. Text always becomes a text node, never HTML.

/** An element with attributes, listeners (`onclick: …`) and children. Children that are null are left out. */
export function h(name, attributes, ...children) {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(attributes ?? {})) {
        if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
        else if (value === true) element.setAttribute(key, "");
        else if (value !== false && value != null) element.setAttribute(key, value);
    }
    element.append(...children.flat().filter((child) => child != null && child !== false));
    return element;
}

const status = document.getElementById("status");

/** Tells the user something, also those who listen to the page. */
export function say(text, isWrong = false) {
    status.classList.toggle("wrong", isWrong);
    status.textContent = text;
}

/** A labelled input. */
export function field(label, attributes, hint) {
    const id = `hint-${attributes.name}`;
    const input = h("input", { ...attributes, "aria-describedby": hint ? id : null });
    return h("div", { class: "field" }, h("label", null, label, input), hint ? h("span", { class: "hint", id }, hint) : null);
}

/** A form whose button is disabled while `send` runs. `send` gets the filled fields. */
export function form(label, fields, send) {
    const button = h("button", null, label);
    const onsubmit = (event) => {
        event.preventDefault();
        const values = Object.fromEntries([...new FormData(event.target)].filter(([, value]) => value !== ""));
        run(button, () => send(values, event.target));
    };
    return h("form", { onsubmit }, ...fields, h("div", { class: "actions" }, button));
}

/** A button for one action. */
export function button(label, action, attributes) {
    const element = h("button", { type: "button", ...attributes, onclick: () => run(element, action) }, label);
    return element;
}

async function run(button, action) {
    button.disabled = true;
    try {
        await action();
    } catch (error) {
        say(error.message, true);
    } finally {
        button.disabled = false;
    }
}

/** A table. `head` names the columns; a name that ends with `#` is a column of numbers. */
export function table(caption, head, rows) {
    const isNumber = head.map((name) => name.endsWith("#"));
    const cell = (content, at) => h("td", { class: isNumber[at] ? "number" : null }, content);
    const columns = head.map((name, at) => h("th", { scope: "col", class: isNumber[at] ? "number" : null }, name.replace("#", "")));
    return h("div", { class: "scroll" }, h("table", null,
        h("caption", null, caption),
        h("thead", null, h("tr", null, columns)),
        h("tbody", null, rows.map((row) => h("tr", null, row.map(cell)))),
    ));
}

const money = new Intl.NumberFormat("en", { style: "currency", currency: document.documentElement.dataset.currency || "EUR" });

/** A price for people. */
export const price = (number) => money.format(number);
