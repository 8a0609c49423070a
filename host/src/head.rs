//! Every edit of a request's head, in the order in which a request meets them.
//!
//! Router, gate, response cache, guest and log must read a request in the same way, so all edits are listed here:
//!
//! 1. [`normalise`]: one form for fields, host, path and query, or a [`HeadError`]. Only the request's id is read earlier.
//! 2. [`take_compressed_tags`]: the guest sees its own entity tags in conditions, without the `+gzip` that the host added.
//! 3. [`keep_for_route`]: removes what a client may not claim, and every field that the route does not read.
//!    [`keep_trailers_for_route`] does the same for trailers, which come after the body.
//! 4. [`strip_mount`]: removes the mount from the path, for services with `strip`.
//! 5. [`set_origin`], [`set_user`], [`set_caller`], [`set_probe_user`]: fields that only the host may set. [`remove_user`] undoes
//!    `set_user` if the session ends before the body has arrived.
//! 6. [`set_credential`]: gives `Authorization` back to a guest that guards itself.
//!
//! `revision::handler` makes one more edit: a component that speaks `wasi:http` sees `HEAD` as `GET`, and always a scheme
//! and an authority.

mod normal_form;
mod reserved;
mod tags;

pub use normal_form::{HeadError, authority, is_about_server, normalise, normalise_target};
pub use reserved::{
    CALLER, CLIENT_ADDRESS, FORWARDED_PREFIX, Origin, REQUEST_ID, SESSION_ID, TRACE_PARENT, USER_ID, USER_ROLE,
    is_reserved, keep_for_route, keep_trailers_for_route, remove_user, set_caller, set_credential, set_origin,
    set_probe_user, set_user, strip_mount,
};
pub use tags::{add_compressed_end, take_compressed_tags};
