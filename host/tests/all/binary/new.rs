//! `comptoir new`: what it refuses, and what it writes. `documents/tutorial.rs` builds and serves a project.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Output;

use testing::built::program;
use tokio::process::Command;

async fn new(folder: &Path, name: &str, language: &str) -> Output {
    Command::new(program()).args(["new", name, "--lang", language]).current_dir(folder).output().await.unwrap()
}

/// The text of a file in a project, with its path in the message if it is missing.
fn read(project: &Path, file: &str) -> String {
    std::fs::read_to_string(project.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// All files of a folder, relative to it and sorted. Without what Python writes into it.
fn files(folder: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if name == "__pycache__" {
            continue;
        }
        if path.is_dir() {
            found.extend(files(&path).into_iter().map(|below| format!("{name}/{below}")));
        } else {
            found.insert(name);
        }
    }
    found
}

/// What `new` writes for a language.
struct Language {
    name: &'static str,
    /// The folders of a project that are copies, with the originals.
    copies: &'static [[&'static str; 2]],
    /// The manifest's line with the component.
    component: &'static str,
}

const LANGUAGES: [Language; 3] = [
    Language {
        name: "rust",
        copies: &[
            ["kit/src", "components/kit/src"],
            ["kit/macros/src", "components/kit/macros/src"],
            ["kit/wit", "wit"],
        ],
        component: "release/my_list.wasm\"",
    },
    Language {
        name: "js",
        copies: &[["comptoir", "components/kit-js/comptoir"], ["wit", "wit"]],
        component: "component = \"my-list.wasm\"",
    },
    Language {
        name: "python",
        copies: &[["comptoir", "components/kit-py/comptoir"], ["wit", "wit"]],
        component: "component = \"my-list.wasm\"",
    },
];

#[tokio::test]
async fn a_project_has_its_kit_the_interfaces_and_its_name_in_each_place() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for Language { name, copies, component } in LANGUAGES {
        let folder = tempfile::tempdir().unwrap();
        let created = new(folder.path(), "below/my-list", name).await;
        assert!(created.status.success(), "{created:?}");
        assert!(String::from_utf8_lossy(&created.stdout).contains("next: cd below/my-list"), "{created:?}");
        let project = folder.path().join("below/my-list");
        let manifest = read(&project, "comptoir.toml");
        for line in ["[services.my-list]", component, "mounts = [\"/my-list\"]"] {
            assert!(manifest.contains(line), "`{line}` is not in {manifest}");
        }
        for [copy, original] in copies {
            let (copy, original) = (project.join(copy), root.join(original));
            assert_eq!(files(&copy), files(&original));
            files(&copy).iter().for_each(|file| assert_eq!(read(&copy, file), read(&original, file), "{file}"));
        }
        let is_copied = |file: &str| file == "Cargo.lock" || copies.iter().any(|[copy, _]| file.starts_with(copy));
        for file in files(&project) {
            let text = read(&project, &file);
            assert!(
                is_copied(&file) || !["NAME", "IDENTIFIER"].iter().any(|left| text.contains(left)),
                "{file}: {text}"
            );
            assert!(!file.contains("NAME") && !file.contains(".template"), "{file}");
        }
    }
}

#[tokio::test]
async fn new_overwrites_nothing_and_refuses_a_bad_name() {
    let folder = tempfile::tempdir().unwrap();
    let full = folder.path().join("full");
    std::fs::create_dir(&full).unwrap();
    std::fs::create_dir(folder.path().join("empty")).unwrap();
    std::fs::write(full.join("mine"), "").unwrap();
    std::fs::write(folder.path().join("file"), "").unwrap();
    for (name, why) in [
        ("full", "full already exists and is not empty: choose another name"),
        ("file", "cannot use file as a project's folder"),
        ("Todo", "the name `Todo` may only contain a-z, 0-9 and -"),
        ("match", "the name `match` has another meaning"),
    ] {
        let refused = new(folder.path(), name, "rust").await;
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && said.contains(why), "{said}");
    }
    assert_eq!(files(folder.path()).len(), 2);
    assert!(new(folder.path(), "empty", "rust").await.status.success());
}

/// The files of a package as cargo would publish it.
async fn packaged(package: &str) -> Vec<String> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .args(["package", "--list", "--offline", "--allow-dirty", "-p", package])
        .current_dir(env!("CARGO_MANIFEST_DIR"));
    let listed = cargo.output().await.unwrap();
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    String::from_utf8(listed.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn published_packages_contain_the_templates_and_the_interfaces() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for (package, at, folders) in [
        ("comptoir", "host", &["console", "src", "templates", "wit"][..]),
        ("comptoir-kit", "components/kit", &["src", "wit"]),
        ("comptoir-kit-macros", "components/kit/macros", &["src"]),
    ] {
        let packaged = packaged(package).await;
        for folder in folders {
            for file in files(&root.join(at).join(folder)) {
                let file = format!("{folder}/{file}");
                assert!(packaged.contains(&file), "the package {package} lacks {file}");
            }
        }
    }
}

#[tokio::test]
async fn a_shell_that_does_not_find_the_program_gets_the_line_that_helps() {
    let folder = tempfile::tempdir().unwrap();
    let program = program();
    let own = program.parent().unwrap();
    for (path, name) in [(Path::new("/nowhere"), "lost"), (own, "found")] {
        let mut command = Command::new(&program);
        let output = command.args(["new", name]).env("PATH", path).current_dir(folder.path()).output().await.unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert_eq!(said.contains(&format!("export PATH=\"{}:$PATH\"", own.display())), name == "lost", "{said}");
    }
}
