//! What differs between two manifests, and which differences need a restart.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{
    AuditRules, DeployRules, DevelopmentRules, Fault, Limits, Listeners, Manifest, Operator, PasswordRules, Postgres,
    Service,
};
use crate::guest::Grant;

/// The differences of two manifests.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Changes {
    /// The services that only the new manifest has.
    pub added: Vec<String>,
    /// The services that only the old manifest has.
    pub removed: Vec<String>,
    /// The services whose tables differ, with the keys that do.
    pub changed: BTreeMap<String, Vec<String>>,
    /// All other keys that differ, such as `listeners.gateway`.
    pub keys: Vec<String>,
}

impl Changes {
    /// Whether the manifests say the same.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Keys, and whether each differs.
type Compared = Vec<(String, bool)>;

/// Compares the fields of two values. Every field must be listed, or be named as one that does not count.
macro_rules! compare {
    ($type:ident { $($field:ident),* $(; not $($skipped:ident),*)? }, $one:expr, $other:expr) => {{
        let $type { $($field,)* $($($skipped: _,)*)? } = $one;
        let other: &$type = $other;
        // A field says its unit, which a key does not.
        let key = |field: &str| field.trim_end_matches("_bytes").to_owned();
        vec![$((key(stringify!($field)), *$field != other.$field)),*]
    }};
}

fn differing(compared: Compared) -> Vec<String> {
    compared.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key).collect()
}

fn under(table: &str, keys: Vec<String>) -> impl Iterator<Item = String> {
    keys.into_iter().map(move |key| format!("{table}.{key}"))
}

impl Service {
    /// Whether another table has the same values for the service. Keys for `comptoir dev` do not count, because the host does not use
    /// them. Its position in the text does not matter.
    pub fn is_same(&self, other: &Self) -> bool {
        differing(self.compare(other)).is_empty()
    }

    /// Whether the service has a database.
    pub fn has_storage(&self) -> bool {
        self.grants.contains(&Grant::Storage)
    }

    /// Whether the service has key-value entries.
    pub fn has_entries(&self) -> bool {
        self.grants.contains(&Grant::Keyvalue)
    }

    fn compare(&self, other: &Self) -> Compared {
        compare!(
            Service {
                component, listen, mounts, public, strip, access, credentials, grants, config, files, visible, outbound, secrets, calls, reuse, limits;
                not build, sources, line
            },
            self,
            other
        )
    }

    /// The keys in which another table differs, with those of `limits`.
    fn differing(&self, other: &Self) -> Vec<String> {
        let mut keys = differing(self.compare(other));
        if let Some(at) = keys.iter().position(|key| key == "limits") {
            keys.splice(at..=at, under("limits", differing(self.limits.compare(&other.limits))));
        }
        keys
    }
}

impl Limits {
    fn compare(&self, other: &Self) -> Compared {
        compare!(
            Limits {
                body_bytes,
                response_bytes,
                time,
                idle_time,
                stream_time,
                drain_time,
                cpu,
                memory_bytes,
                concurrency,
                streams,
                queue_time,
                log_bytes,
                statement_time,
                transaction_time,
                database_bytes,
                answers_bytes
            },
            self,
            other
        )
    }
}

impl Listeners {
    fn compare(&self, other: &Self) -> Compared {
        compare!(
            Listeners {
                gateway,
                admin,
                connections,
                connections_each,
                requests,
                requests_each,
                bodies_bytes,
                bodies_each_bytes,
                responses_bytes,
                responses_each_bytes,
                streams,
                streams_each,
                header_time,
                idle_time,
                shutdown_time,
                tls,
                cors,
                cors_headers,
                hosts,
                docs
            },
            self,
            other
        )
    }
}

impl DeployRules {
    fn compare(&self, other: &Self) -> Compared {
        compare!(DeployRules { component, compile_time, compile_memory, probe_time, watch, keep, signers }, self, other)
    }
}

impl AuditRules {
    fn compare(&self, other: &Self) -> Compared {
        compare!(AuditRules { file }, self, other)
    }
}

impl PasswordRules {
    fn compare(&self, other: &Self) -> Compared {
        compare!(PasswordRules { minimum, memory, passes, queue_time }, self, other)
    }
}

impl Operator {
    fn compare(&self, other: &Self) -> Compared {
        compare!(Operator { service, path }, self, other)
    }
}

impl DevelopmentRules {
    fn compare(&self, other: &Self) -> Compared {
        compare!(DevelopmentRules { tokens }, self, other)
    }
}

impl Postgres {
    fn compare(&self, other: &Self) -> Compared {
        compare!(Postgres { url, authority; not line }, self, other)
    }
}

/// The keys of an optional table that differ. If only one manifest has the table, the name of the table itself.
fn of_optional<T>(one: Option<&T>, other: Option<&T>, compare: fn(&T, &T) -> Compared, table: &str) -> Vec<String> {
    match (one, other) {
        (Some(one), Some(other)) => under(table, differing(compare(one, other))).collect(),
        (None, None) => Vec::new(),
        _ => vec![table.to_owned()],
    }
}

/// The keys that only a start reads. Those of `limits` are read when the service's database is opened.
const OF_A_START: [&str; 5] = ["instances", "listeners.streams", "audit", "passwords", "postgres"];
const OF_A_DATABASE: [&str; 3] = ["limits.statement_time", "limits.transaction_time", "limits.database"];

impl Manifest {
    /// What another manifest changes.
    pub fn changes(&self, next: &Self) -> Changes {
        let absent = |one: &Self, other: &Self| -> Vec<String> {
            one.services.keys().filter(|name| !other.services.contains_key(*name)).cloned().collect()
        };
        let changed = self.services.iter().filter_map(|(name, service)| {
            let keys = service.differing(next.services.get(name)?);
            (!keys.is_empty()).then(|| (name.clone(), keys))
        });
        Changes {
            added: absent(next, self),
            removed: absent(self, next),
            changed: changed.collect(),
            keys: self.differing_tables(next),
        }
    }

    /// The keys outside of `[services]` in which another manifest differs. `[limits]` shows in the services.
    fn differing_tables(&self, next: &Self) -> Vec<String> {
        let Self {
            file: _,
            source: _,
            listeners,
            instances,
            deploy,
            audit,
            passwords,
            postgres,
            operator,
            development,
            services: _,
        } = self;
        let mut keys: Vec<String> = under("listeners", differing(listeners.compare(&next.listeners))).collect();
        keys.extend((*instances != next.instances).then(|| "instances".to_owned()));
        keys.extend(under("deploy", differing(deploy.compare(&next.deploy))));
        keys.extend(under("audit", differing(audit.compare(&next.audit))));
        keys.extend(under("passwords", differing(passwords.compare(&next.passwords))));
        keys.extend(of_optional(postgres.as_ref(), next.postgres.as_ref(), Postgres::compare, "postgres"));
        keys.extend(of_optional(operator.as_ref(), next.operator.as_ref(), Operator::compare, "operator"));
        keys.extend(under("development", differing(development.compare(&next.development))));
        keys
    }

    /// The changes of another manifest that only a start can apply, each as a fault of that manifest.
    pub fn unchangeable(&self, next: &Self) -> Vec<Fault> {
        let changes = self.changes(next);
        let is_in = |key: &str, table: &str| {
            key.strip_prefix(table).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        let of_host = changes.keys.iter().filter(|key| OF_A_START.iter().any(|table| is_in(key, table))).cloned();
        let of_database = changes.changed.iter().flat_map(|(name, keys)| {
            let (one, other) = (&self.services[name], &next.services[name]);
            let has_database = one.has_storage() && other.has_storage() || one.has_entries() && other.has_entries();
            let keys = keys.iter().filter(move |key| has_database && OF_A_DATABASE.contains(&key.as_str()));
            keys.map(move |key| format!("services.{name}.{key}"))
        });
        let fault = |key: String| {
            let message =
                format!("{key} cannot change while the host serves: restart to change it, or restore its value");
            next.source.fault(&key, message)
        };
        of_host.chain(of_database).map(fault).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const SOUND: &str = "[listeners]\ngateway = \"127.0.0.1:1\"\nadmin = \"127.0.0.1:2\"\n[services.one]\ncomponent = \"one.wasm\"\n\
                         mounts = [\"/one\"]\n";

    fn parse(text: &str) -> Manifest {
        Manifest::parse(Path::new("c.toml"), text).unwrap()
    }

    /// The keys that the parser accepts in a table. It lists them in its message about an unknown one.
    fn accepted(table: &str) -> Vec<String> {
        let text = SOUND.replacen(&format!("[{table}]\n"), &format!("[{table}]\nzzz = 1\n"), 1);
        let text = if text == SOUND { format!("{SOUND}[{table}]\nzzz = 1\n") } else { text };
        let refused = Manifest::parse(Path::new("c.toml"), &text).unwrap_err();
        let (_, expected) = refused.faults[0].message.split_once("xpected ").expect("the message lists the keys");
        expected.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    }

    /// The keys that only `comptoir dev` reads.
    const OF_DEVELOPMENT: [&str; 2] = ["build", "sources"];

    #[test]
    fn every_key_that_the_parser_accepts_is_compared() {
        let manifest = parse(SOUND);
        let (service, listeners) = (&manifest.services["one"], &manifest.listeners);
        for (table, compared) in [
            ("services.one", service.compare(service)),
            ("services.one.limits", service.limits.compare(&service.limits)),
            ("limits", service.limits.compare(&service.limits)),
            ("listeners", listeners.compare(listeners)),
            ("deploy", manifest.deploy.compare(&manifest.deploy)),
            ("audit", manifest.audit.compare(&manifest.audit)),
            ("passwords", manifest.passwords.compare(&manifest.passwords)),
            ("development", manifest.development.compare(&manifest.development)),
        ] {
            for key in accepted(table) {
                let is_compared =
                    compared.iter().any(|(name, _)| *name == key) || OF_DEVELOPMENT.contains(&key.as_str());
                assert!(is_compared, "a reload does not compare `{key}` of [{table}]: add it to `compare`");
            }
        }
    }

    #[test]
    fn changes_name_services_and_keys_and_not_lines_or_order() {
        let one = parse(SOUND);
        assert!(one.changes(&parse(&format!("# A comment.\n{SOUND}[limits]\ntime = \"30s\"\n"))).is_empty());
        assert!(one.changes(&parse(&format!("{SOUND}build = \"make\"\nsources = [\"src\"]\n"))).is_empty());
        let two = SOUND
            .replace("[services.one]", "[services.two]\ncomponent = \"one.wasm\"\nmounts = [\"/two\"]\n[services.one]");
        let two = two.replace("[\"/one\"]", "[\"/first\"]").replace(":1\"", ":3\"") + "[limits]\ntime = \"1s\"\n";
        let changes = one.changes(&parse(&two));
        assert_eq!((changes.added, changes.removed), (vec!["two".to_owned()], vec![]));
        assert_eq!(changes.changed["one"], ["mounts", "limits.time"]);
        assert_eq!(changes.keys, ["listeners.gateway"]);
    }

    #[test]
    fn what_only_a_start_can_change_is_a_fault_with_its_line() {
        let with_storage = SOUND.to_owned() + "grants = [\"storage\"]\n";
        let next = format!(
            "instances = 7\n{with_storage}[services.one.limits]\ndatabase = \"1 GiB\"\n[passwords]\nminimum = 9\n"
        );
        let next = next.replace("[listeners]\n", "[listeners]\nstreams_each = 2\nstreams = 9\n");
        let faults = parse(&with_storage).unchangeable(&parse(&next));
        let lines: Vec<_> = faults.iter().map(|fault| fault.line).collect();
        assert_eq!(lines, [4, 1, 14, 12].map(Some), "{faults:#?}");
        assert!(faults.iter().all(|fault| fault.message.contains("restart to change it")), "{faults:#?}");
        // A service that gets its database with the reload opens it with these limits.
        let of_database = parse(SOUND).unchangeable(&parse(&next));
        assert_eq!(of_database.len(), 3, "{of_database:#?}");
    }
}
