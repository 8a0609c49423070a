//! A minimal description. Shared by the guests that export `service` without the kit.

use crate::bindings::exports::comptoir::platform::service::{Description, Route, SchemaRange};

/// A description with these routes, without health, database, probes and documentation.
pub(crate) fn of(name: &str, routes: Vec<Route>) -> Description {
    Description {
        name: name.to_owned(),
        version: "1".to_owned(),
        health: None,
        routes,
        migrations: Vec::new(),
        schema: SchemaRange { minimum: 0, maximum: 0 },
        probes: Vec::new(),
        documentation: None,
    }
}
