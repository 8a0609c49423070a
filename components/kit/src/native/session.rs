//! The interface `session`. A test sets whether the caller's session has ended.

use std::cell::Cell;

thread_local! {
    static ENDED: Cell<bool> = const { Cell::new(false) };
}

pub(crate) fn set_ended(ended: bool) {
    ENDED.set(ended);
}

pub(crate) fn has_ended() -> bool {
    ENDED.get()
}
