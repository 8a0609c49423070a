//! The law of the host's modules: `lib.rs` lists them in topological order.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The files of `src` without those of tests.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let entries = entries.filter(|path| path.file_stem().is_some_and(|name| name != "tests"));
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// The module of a file, as a path: `revision::slots`.
fn module(source: &Path, file: &Path) -> String {
    file.strip_prefix(source).unwrap().with_extension("").to_str().unwrap().replace('/', "::")
}

/// What a file says, without comments and unit tests.
fn code(file: &Path) -> String {
    let text = fs::read_to_string(file).unwrap();
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    code.lines().filter(|line| !line.trim_start().starts_with("//")).map(|line| format!("{line}\n")).collect()
}

/// The path within the crate that a word of a module's code names.
fn within_crate(module: &str, word: &str) -> String {
    let (mut at, mut word) = (module, word);
    if let Some(path) = word.strip_prefix("crate::") {
        return path.to_owned();
    }
    while let Some(path) = word.strip_prefix("super::") {
        (at, word) = (at.rsplit_once("::").map_or("", |(parent, _)| parent), path);
    }
    format!("{at}::{word}")
}

/// Each module with those that it imports. Importing from a parent does not count: a module shares its types with its children.
fn imports(source: &Path) -> BTreeMap<String, BTreeSet<String>> {
    let codes: BTreeMap<String, String> = files(source).iter().map(|file| (module(source, file), code(file))).collect();
    let of = |module: &str, code: &str| {
        let words = code.split(|letter: char| !letter.is_alphanumeric() && letter != '_' && letter != ':');
        let paths = words.filter(|word| word.contains("::")).map(|word| within_crate(module, word));
        let prefixes =
            |path: String| path.match_indices("::").map(|(end, _)| path[..end].to_owned()).collect::<Vec<_>>();
        let used = paths.filter_map(|path| prefixes(path).into_iter().rfind(|prefix| codes.contains_key(prefix)));
        used.filter(|used| used != module && !module.starts_with(&format!("{used}::"))).collect()
    };
    codes.iter().map(|(module, code)| (module.clone(), of(module, code))).collect()
}

/// The lines of `lib.rs` that declare modules: those before `// Leaves`, and those after it.
fn listed() -> (Vec<String>, Vec<String>) {
    let text = fs::read_to_string(source().join("lib.rs")).unwrap();
    let (above, leaves) = text.split_once("// Leaves").expect("lib.rs has a line `// Leaves`");
    let modules = |text: &str| {
        let names = text.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
        names.map(str::to_owned).collect()
    };
    (modules(above), modules(leaves))
}

#[test]
fn a_module_imports_only_modules_listed_below_it_and_a_leaf_none() {
    let (above, leaves) = listed();
    let top = |module: &str| module.split("::").next().unwrap().to_owned();
    let place = |module: &str| above.iter().chain(&leaves).position(|listed| *listed == top(module));
    for (module, used) in
        imports(&source()).iter().flat_map(|(module, used)| used.iter().map(move |used| (module, used)))
    {
        let (Some(from), Some(to)) = (place(module), place(used)) else { continue };
        assert!(from <= to, "{module} imports {used}, which lib.rs lists above it");
        assert!(from == to || from < above.len(), "{module} imports {used}, but lib.rs lists it as a leaf");
    }
}

#[test]
fn no_files_import_each_other_in_a_cycle() {
    for crate_folder in ["", "storage", "testing"] {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(crate_folder).join("src");
        let left = in_cycles(imports(&source));
        assert!(left.is_empty(), "{}: these files are in a cycle, or between two: {left:#?}", source.display());
    }
}

/// What is left after the modules that import nothing, or that nothing imports, are removed one by one.
fn in_cycles(mut left: BTreeMap<String, BTreeSet<String>>) -> BTreeMap<String, BTreeSet<String>> {
    loop {
        let imported: BTreeSet<String> = left.values().flatten().cloned().collect();
        let free = left.iter().find(|(module, used)| used.is_empty() || !imported.contains(*module));
        let Some(free) = free.map(|(module, _)| module.clone()) else { return left };
        left.remove(&free);
        for used in left.values_mut() {
            used.remove(&free);
        }
    }
}

#[test]
fn the_lower_modules_know_no_wasm_and_no_http_status() {
    let knows_none = ["route", "gate", "tokens", "passwords"];
    let is_one =
        |file: &PathBuf| knows_none.iter().any(|name| module(&source(), file).split("::").next() == Some(*name));
    for file in files(&source()).iter().filter(|file| is_one(file)) {
        let text = fs::read_to_string(file).unwrap();
        for word in ["wasmtime", "StatusCode"] {
            assert!(!text.contains(word), "{} names {word}", file.display());
        }
    }
}

/// The names of all dependencies in a Cargo.toml.
fn dependencies(manifest: &toml::Table) -> BTreeSet<String> {
    let tables = ["dependencies", "dev-dependencies", "build-dependencies"];
    let targets = manifest.get("target").and_then(toml::Value::as_table).into_iter().flat_map(toml::Table::values);
    let sections = targets.filter_map(toml::Value::as_table).chain([manifest]);
    let found = sections.flat_map(|section| tables.iter().filter_map(|name| section.get(*name)?.as_table()));
    found.flat_map(toml::Table::keys).cloned().collect()
}

/// All Rust code in a folder.
fn all_code(folder: &Path) -> String {
    let entries = fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path());
    let (folders, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    let files = files.iter().filter(|path| path.extension().is_some_and(|extension| extension == "rs"));
    folders.iter().map(|folder| all_code(folder)).chain(files.map(|file| fs::read_to_string(file).unwrap())).collect()
}

#[test]
fn every_dependency_is_used() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let workspace: toml::Table = fs::read_to_string(root.join("Cargo.toml")).unwrap().parse().unwrap();
    let members = workspace["workspace"]["members"].as_array().unwrap().iter().filter_map(toml::Value::as_str);
    for package in members.filter(|member| !member.ends_with('*')).map(|member| root.join(member)) {
        let manifest: toml::Table = fs::read_to_string(package.join("Cargo.toml")).unwrap().parse().unwrap();
        let code: String = ["src", "tests", "benches"].map(|part| all_code(&package.join(part))).concat();
        let code = code + &fs::read_to_string(package.join("build.rs")).unwrap_or_default();
        for dependency in dependencies(&manifest) {
            let name = dependency.trim_start_matches("comptoir-").replace('-', "_");
            let is_used = [format!("{name}::"), format!("use {name};")].iter().any(|path| code.contains(path));
            assert!(is_used, "{} uses {dependency} nowhere: remove it from its Cargo.toml", package.display());
        }
    }
}
