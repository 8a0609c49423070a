// Asks before a change.

import { h } from "./dom.js";

let count = 0;

// Shows a question and runs `act` with the reason if the operator agrees. A refusal of the host stays in the dialog.
export function ask({ title, text, verb, danger, act }) {
  const id = `dialog-${++count}`;
  const reason = h("input", { id: `${id}-reason`, maxlength: "500", autocomplete: "off" });
  const message = h("p", { class: "error", role: "alert" });
  const agree = h("button", { type: "submit", class: danger ? "danger" : "primary" }, verb);
  const close = () => dialog.close();
  const submit = async (event) => {
    event.preventDefault();
    agree.disabled = true;
    message.textContent = "";
    try {
      await act(reason.value.trim());
      close();
    } catch (error) {
      message.textContent = error.message;
      agree.disabled = false;
    }
  };
  const dialog = h("dialog", { "aria-labelledby": id, onclose: () => dialog.remove() },
    h("form", { onsubmit: submit },
      h("h2", { id }, title),
      text ? h("p", {}, text) : null,
      act.length > 0 ? [h("label", { for: reason.id }, "Reason, for the history"), reason] : null,
      message,
      h("div", { class: "buttons" }, h("button", { type: "button", onclick: close }, "Cancel"), agree)));
  document.body.append(dialog);
  dialog.showModal();
}
