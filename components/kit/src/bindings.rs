//! Generated from `wit/`. Public only because [`service!`](macro@crate::service) expands to names in here.

#![allow(
    missing_docs,
    unsafe_code,
    unreachable_pub,
    unused_qualifications,
    clippy::all,
    clippy::cognitive_complexity,
    clippy::needless_pass_by_value,
    clippy::semicolon_if_nothing_returned,
    clippy::uninlined_format_args,
    reason = "wit-bindgen writes this module"
)]

wit_bindgen::generate!({
    path: "wit",
    inline: "
        package comptoir:kit;

        world service-kit {
            include comptoir:platform/service-base@0.1.0;
            import wasi:http/outgoing-handler@0.2.12;
            import wasi:config/store@0.2.0-rc.1;
            import wasi:logging/logging@0.1.0-draft;
        }
    ",
    world: "comptoir:kit/service-kit",
    generate_all,
    pub_export_macro: true,
    default_bindings_module: "kit::bindings",
});
