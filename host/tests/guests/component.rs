// Shared by the guests that use wit-bindgen directly. They include this file at the top of their crate.

/// Generates the module `bindings` from WIT, and exports `$component` as the component.
///
/// The options are those of `wit_bindgen::generate!`. Their `path` is relative to the guest's Cargo.toml.
macro_rules! component {
    ($component:ident, { $($options:tt)* }) => {
        #[allow(
            missing_docs,
            unsafe_code,
            unsafe_op_in_unsafe_fn,
            unreachable_pub,
            unused_qualifications,
            clippy::all,
            clippy::pedantic,
            clippy::nursery,
            reason = "wit-bindgen writes this module"
        )]
        mod bindings {
            wit_bindgen::generate!({ $($options)* });
        }

        #[allow(unsafe_code, reason = "wit-bindgen writes this code")]
        mod export {
            use super::{$component, bindings};

            bindings::export!($component with_types_in bindings);
        }
    };
}
