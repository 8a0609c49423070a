//! The edges between the host's modules, as the crate's documentation draws them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Which modules each module may use. What is absent here is forbidden.
const EDGES: [(&str, &[&str]); 34] = [
    (
        "admin",
        &[
            "audit",
            "body",
            "deploy",
            "engine",
            "error",
            "gate",
            "gateway",
            "revision",
            "route",
            "shares",
            "storage",
            "telemetry",
            "tokens",
            "version",
        ],
    ),
    ("backup", &["storage"]),
    ("answers", &["body", "storage"]),
    ("audit", &["clock", "priority"]),
    ("body", &["shares"]),
    ("clock", &[]),
    (
        "deploy",
        &[
            "answers",
            "audit",
            "body",
            "clock",
            "engine",
            "gate",
            "guest",
            "manifest",
            "passwords",
            "printable",
            "revision",
            "route",
            "signature",
            "storage",
            "tokens",
        ],
    ),
    ("engine", &["guest", "key_file", "manifest", "printable"]),
    ("error", &["body", "gate", "revision", "route"]),
    ("gate", &["audit", "permissions", "route", "tokens"]),
    ("gateway", &["body", "deploy", "error", "gate", "guest", "manifest", "revision", "route", "shares", "telemetry"]),
    ("guest", &["audit", "clock", "manifest", "passwords", "printable", "storage", "tokens"]),
    (
        "host",
        &[
            "admin",
            "audit",
            "clock",
            "deploy",
            "engine",
            "gate",
            "gateway",
            "listener",
            "manifest",
            "passwords",
            "revision",
            "storage",
            "telemetry",
            "tokens",
        ],
    ),
    ("key_file", &["permissions"]),
    ("lib", &[]),
    ("listener", &["body", "manifest", "permissions", "shares", "telemetry"]),
    ("client", &["output"]),
    ("main", &[]),
    ("manifest", &["passwords", "signature"]),
    ("output", &[]),
    ("passwords", &["priority"]),
    ("permissions", &[]),
    ("printable", &[]),
    ("priority", &[]),
    (
        "revision",
        &[
            "answers",
            "body",
            "clock",
            "engine",
            "gate",
            "guest",
            "manifest",
            "printable",
            "priority",
            "route",
            "storage",
        ],
    ),
    ("route", &[]),
    ("shares", &[]),
    ("sign", &["output"]),
    ("signature", &["key_file"]),
    ("storage", &["permissions", "priority"]),
    ("system", &[]),
    ("telemetry", &[]),
    ("tokens", &["clock", "key_file", "storage"]),
    ("version", &[]),
];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.file_stem().is_some_and(|name| name == "tests") {
            continue;
        }
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The modules that each module names after `crate::`, tests and comments left out.
fn edges() -> BTreeMap<String, BTreeSet<String>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let mut edges: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for file in files {
        let first = file.strip_prefix(&root).unwrap().iter().next().unwrap().to_str().unwrap();
        let module = first.trim_end_matches(".rs").to_owned();
        let text = std::fs::read_to_string(&file).unwrap();
        let uses = edges.entry(module.clone()).or_default();
        for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
            for used in line.split("crate::").skip(1) {
                let name: String =
                    used.chars().take_while(|character| character.is_alphanumeric() || *character == '_').collect();
                if name != module && !name.is_empty() {
                    uses.insert(name);
                }
            }
        }
    }
    edges
}

#[test]
fn modules_use_only_what_stands_below_them() {
    let edges = edges();
    let allowed: BTreeMap<&str, BTreeSet<&str>> =
        EDGES.iter().map(|(module, uses)| (*module, uses.iter().copied().collect())).collect();
    for (module, uses) in &edges {
        let allowed =
            allowed.get(module.as_str()).unwrap_or_else(|| panic!("the module {module} has no line in this test"));
        for used in uses {
            assert!(allowed.contains(used.as_str()), "{module} uses {used}, which the architecture does not have");
        }
    }
}

#[test]
fn the_leaves_know_no_wasm_and_no_http_status() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    for leaf in ["route", "gate", "storage", "tokens", "passwords"] {
        files.push(root.join(format!("{leaf}.rs")));
        if root.join(leaf).is_dir() {
            sources(&root.join(leaf), &mut files);
        }
    }
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        for word in ["wasmtime", "StatusCode"] {
            assert!(!text.contains(word), "{} knows {word}", file.display());
        }
    }
}
