//! Any text is a valid manifest, or is refused with its file and an existing line.

use std::path::Path;
use std::time::Duration;

use comptoir::manifest::Manifest;
use proptest::prelude::*;

use super::{changed, changes, runner, text};

const SHIPPED: &str = include_str!("../../../comptoir.toml");

/// Parts of manifests, right and wrong.
const WORDS: &[&str] = &[
    "\n",
    "[limits]\n",
    "[services.host]\n",
    "[services.\"\"]\n",
    "instances = 0\n",
    "instances = 9223372036854775807\n",
    "limits = { time = \"0s\" }\n",
    "\"18446744073709551615 GiB\"",
    "\"99999999999999999999 B\"",
    "\"-1s\"",
    "\"1e9y\"",
    "\"30s\"",
    "= 1 =",
    "mounts = [\"/\"]\n",
    "mounts = [\"\"]\n",
    "\"/orders\"",
    "\"0.0.0.0:80\"",
    "\"[::1]:0\"",
    "calls = [\"auth\"]\n",
    "cors = [\"http://a/b\"]\n",
    "tls = { certificate = \"\", key = \"\" }\n",
    "\"\"\"",
    "#",
    "{",
    "]",
    "\u{0}",
];

fn holds(text: &str) -> Result<(), TestCaseError> {
    match Manifest::parse(Path::new("shop/comptoir.toml"), text) {
        Ok(manifest) => {
            prop_assert!(!manifest.services.is_empty() && manifest.listeners.admin.ip().is_loopback());
            for service in manifest.services.values() {
                prop_assert!(service.mounts.iter().all(|mount| mount.starts_with('/')));
                prop_assert!(service.limits.time <= Duration::from_secs(24 * 3600) && !service.limits.cpu.is_zero());
                prop_assert!((64 << 10..=4 << 30).contains(&service.limits.memory_bytes));
                prop_assert!((1..=10_000).contains(&service.limits.concurrency));
            }
        }
        Err(error) => {
            let (said, lines) = (error.to_string(), text.lines().count() + 1);
            prop_assert!(said.starts_with("shop/comptoir.toml:") && !error.faults.is_empty(), "{said}");
            for fault in &error.faults {
                prop_assert!(!fault.message.is_empty(), "{said}");
                prop_assert!(fault.line.is_none_or(|line| (1..=lines).contains(&line)), "{said} of {lines} lines");
            }
        }
    }
    Ok(())
}

#[test]
fn any_text_is_a_valid_manifest_or_is_refused() {
    runner(1_000).run(&text(), |text| holds(&text)).unwrap();
}

#[test]
fn the_shipped_manifest_with_any_change_is_valid_or_is_refused() {
    let held = runner(1_000)
        .run(&changes(WORDS), |changes| holds(&String::from_utf8_lossy(&changed(SHIPPED.as_bytes(), &changes))));
    held.unwrap();
}
