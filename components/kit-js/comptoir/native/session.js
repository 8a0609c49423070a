// The interface `session`.

let ended = false;

export function hasEnded() {
  return ended;
}

/** @param {boolean} value */
export function setEnded(value) {
  ended = value;
}
