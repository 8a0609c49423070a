//! Reads the text of a manifest into tables.
//!
//! Continues after a key that it cannot read, so that all such keys are reported at once.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use super::check::{Check, nearest};
use super::listeners::ListenersTable;
use super::postgres::PostgresTable;
use super::{AuditRules, DeployRules, DevelopmentRules, LimitsTable, Operator, PasswordRules, ServiceTable};

/// The tables of a manifest, without unreadable keys.
pub(super) struct Document {
    pub(super) listeners: Option<ListenersTable>,
    pub(super) instances: u32,
    pub(super) limits: LimitsTable,
    pub(super) deploy: DeployRules,
    pub(super) audit: AuditRules,
    pub(super) passwords: PasswordRules,
    pub(super) postgres: Option<Spanned<PostgresTable>>,
    pub(super) operator: Option<Operator>,
    pub(super) development: DevelopmentRules,
    /// The services whose tables are readable.
    pub(super) services: BTreeMap<Spanned<String>, ServiceTable>,
    /// The names of all services.
    pub(super) names: BTreeSet<String>,
}

const KEYS: [&str; 10] = [
    "listeners",
    "instances",
    "limits",
    "deploy",
    "audit",
    "passwords",
    "postgres",
    "operator",
    "development",
    "services",
];

const DEFAULT_INSTANCES: u32 = 1000;

impl Document {
    /// Reads the text and reports unreadable keys.
    /// Returns `None` if the text is not TOML.
    pub(super) fn read(check: &mut Check) -> Option<Self> {
        let text = check.source().text();
        let (root, errors) = DeTable::parse_recoverable(&text);
        // Report one error per line, because further ones are often consequences of the first.
        let mut lines = BTreeSet::new();
        for error in errors {
            let line = error.span().map(|span| check.source().line(span.start));
            if lines.insert(line) {
                check.report(error.span(), error.message());
            }
        }
        if !lines.is_empty() {
            return None;
        }
        let mut root = root.into_inner();
        check.note(&root);
        if !root.contains_key("listeners") {
            let message = "the table [listeners] is missing: write one, with gateway = \"127.0.0.1:8000\" and \
                           admin = \"127.0.0.1:8010\"";
            check.report(None, message);
        }
        let (services, names) = services(check, &mut root);
        let document = Self {
            listeners: section(check, &mut root, "listeners"),
            instances: section(check, &mut root, "instances").unwrap_or(DEFAULT_INSTANCES),
            limits: section(check, &mut root, "limits").unwrap_or_default(),
            deploy: section(check, &mut root, "deploy").unwrap_or_default(),
            audit: section(check, &mut root, "audit").unwrap_or_default(),
            passwords: section(check, &mut root, "passwords").unwrap_or_default(),
            postgres: section(check, &mut root, "postgres"),
            operator: section(check, &mut root, "operator"),
            development: section(check, &mut root, "development").unwrap_or_default(),
            services,
            names,
        };
        for key in root.keys() {
            let hint = nearest(key.get_ref(), KEYS).map(|near| format!(": did you mean `{near}`?")).unwrap_or_default();
            let message = format!("unknown key `{}`{hint} The keys are {}", key.get_ref(), KEYS.join(", "));
            check.report(Some(key.span()), &message);
        }
        Some(document)
    }
}

fn services(check: &Check, root: &mut DeTable<'_>) -> (BTreeMap<Spanned<String>, ServiceTable>, BTreeSet<String>) {
    let (mut services, mut names) = (BTreeMap::new(), BTreeSet::new());
    let all = root.remove("services");
    let Some(DeValue::Table(tables)) = all.as_ref().map(Spanned::get_ref).filter(|value| !is_empty(value)) else {
        let message = "the manifest has no service: write at least one [services.<name>]";
        check.report(all.map(|all| all.span()), message);
        return (services, names);
    };
    for (name, value) in tables {
        names.insert(name.get_ref().to_string());
        if let Some(table) = read(check, value.clone()) {
            services.insert(Spanned::new(name.span(), name.get_ref().to_string()), table);
        }
    }
    (services, names)
}

fn is_empty(value: &DeValue<'_>) -> bool {
    matches!(value, DeValue::Table(table) if table.is_empty())
}

/// Removes a table from the document and reads it.
fn section<T: DeserializeOwned>(check: &Check, root: &mut DeTable<'_>, key: &str) -> Option<T> {
    read(check, root.remove(key)?)
}

/// Reads a value, and reports each unreadable key in it.
///
/// The result has the default for such a key. Returns `None` if a required key is unreadable.
fn read<'de, T: Deserialize<'de>>(check: &Check, mut value: Spanned<DeValue<'de>>) -> Option<T> {
    let mut removed = BTreeSet::new();
    loop {
        let error = match T::deserialize(ValueDeserializer::from(value.clone())) {
            Ok(read) => return Some(read),
            Err(error) => error,
        };
        let is_consequence = |key: &String| error.message() == format!("missing field `{key}`");
        let (message, near) = with_hint(error.message());
        if !removed.iter().any(is_consequence) {
            check.report(error.span(), &message);
        }
        // Do not also report the correct spelling of a misspelt key as missing.
        removed.extend(near);
        let (DeValue::Table(table), Some(span)) = (value.get_mut(), error.span()) else { return None };
        removed.insert(remove(table, &span)?);
    }
}

/// Removes the innermost key at this part of the text, and returns it.
fn remove(table: &mut DeTable<'_>, span: &Range<usize>) -> Option<String> {
    for (_, value) in table.iter_mut() {
        if let DeValue::Table(below) = value.get_mut()
            && let Some(key) = remove(below, span)
        {
            return Some(key);
        }
    }
    let has = |outer: Range<usize>| outer.start <= span.start && span.end <= outer.end;
    let found = table.iter().find(|(key, value)| has(key.span()) || has(value.span()));
    let key = found.map(|(key, _)| key.get_ref().to_string())?;
    table.remove(key.as_str());
    Some(key)
}

/// Adds a suggestion to serde's message about an unknown word.
/// Also returns the suggested word.
fn with_hint(message: &str) -> (String, Option<String>) {
    let Some((unknown, expected)) = message.split_once(", expected ").filter(|_| message.starts_with("unknown "))
    else {
        return (message.to_owned(), None);
    };
    let quoted = |text: &str| -> Vec<String> { text.split('`').skip(1).step_by(2).map(str::to_owned).collect() };
    let (word, known) = (quoted(unknown).concat(), quoted(expected));
    match nearest(&word, known.iter().map(String::as_str)) {
        Some(near) => (format!("{unknown}: did you mean `{near}`? Expected {expected}"), Some(near.to_owned())),
        None => (message.to_owned(), None),
    }
}
