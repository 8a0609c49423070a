//! `comptoir new`: creates a project from a template. Needs no network.
//!
//! The templates in `host/templates` are part of this program. Those of a language contain its kit and the interfaces in `wit`, by
//! links to the folders in which they are developed.

use std::fs;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use clap::{Args, ValueEnum};
use include_dir::{Dir, DirEntry, File, include_dir};

use crate::output::outln;

static TEMPLATES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/templates");

/// The text in templates and in their paths that stands for the name of the project.
const NAME: &str = "NAME";

/// The text that stands for the name as an identifier, which is also the name of a built file: cargo replaces each `-` by `_`.
const IDENTIFIER: &str = "IDENTIFIER";

/// The ending of template files whose real name means something in this repository, such as `Cargo.toml`.
const ENDING: &str = ".template";

/// Folders that are copied as they are.
const COPIED: [&str; 3] = ["kit", "comptoir", "wit"];

/// What Python writes beside the kit's modules. A build may find it there.
const COMPILED: &str = "__pycache__";

/// The longest name, in characters. It becomes the name of a file, a path and a database.
const NAME_LIMIT: usize = 40;

/// Names of libraries that a service uses, or that cargo refuses.
const TAKEN: [&str; 16] = [
    "alloc",
    "comptoir-kit",
    "comptoir-kit-macros",
    "core",
    "deps",
    "examples",
    "host",
    "incremental",
    "kit",
    "kit-macros",
    "proc-macro",
    "schemars",
    "serde",
    "serde-json",
    "std",
    "test",
];

/// Rust's keywords, which no crate may have as its name.
const KEYWORDS: [&str; 51] = [
    "abstract", "as", "async", "await", "become", "box", "break", "build", "const", "continue", "crate", "do", "dyn",
    "else", "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl", "in", "let", "loop", "macro",
    "match", "mod", "move", "mut", "override", "priv", "pub", "ref", "return", "self", "static", "struct", "super",
    "trait", "true", "try", "type", "typeof", "unsafe", "unsized", "use", "virtual", "where", "while",
];

/// `comptoir new`
#[derive(Debug, Args)]
pub(crate) struct New {
    /// The folder to create. Its last part becomes the name of the service: a-z, 0-9 and -, beginning with a letter.
    #[arg(value_name = "NAME")]
    folder: PathBuf,
    /// The language of the service.
    #[arg(long, default_value = "rust")]
    lang: Language,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Language {
    Rust,
    Js,
    Python,
}

impl Language {
    fn folder(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::Js => "js",
            Self::Python => "python",
        }
    }
}

impl New {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let name = name(&self.folder)?;
        check_is_free(&self.folder)?;
        let template =
            TEMPLATES.get_dir(self.lang.folder()).context("this program has no template for the language")?;
        let project = Project { name, template: template.path(), folder: &self.folder };
        project.write(template)?;
        let folder = self.folder.display();
        outln!("created {folder}\n  next: cd {folder}, then follow README.md");
        if let Some(folder) = folder_missing_in_path() {
            outln!(
                "  its commands call `comptoir`, which PATH does not contain: export PATH=\"{}:$PATH\"",
                folder.display()
            );
        }
        Ok(())
    }
}

/// The folder of this program, if a shell would not find `comptoir`.
fn folder_missing_in_path() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_found = std::env::split_paths(&path).any(|folder| folder.join("comptoir").is_file());
    let program = std::env::current_exe().ok()?;
    (!is_found).then(|| program.parent().map(Path::to_owned)).flatten()
}

/// The name of the service: the last part of the folder.
fn name(folder: &Path) -> anyhow::Result<&str> {
    let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    ensure!(
        name.starts_with(|first: char| first.is_ascii_lowercase())
            && name.bytes().all(is_plain)
            && !name.ends_with('-'),
        "the name `{name}` may only contain a-z, 0-9 and -, must begin with a letter, and must not end with -: choose another, such \
         as `todo`"
    );
    ensure!(name.len() <= NAME_LIMIT, "the name `{name}` is longer than {NAME_LIMIT} characters: choose a shorter one");
    ensure!(
        !TAKEN.contains(&name) && !KEYWORDS.contains(&name),
        "the name `{name}` has another meaning for the host or the compiler: choose another, such as `my-{name}`"
    );
    Ok(name)
}

/// Refuses a folder that contains something, so that nothing is overwritten.
fn check_is_free(folder: &Path) -> anyhow::Result<()> {
    match fs::read_dir(folder) {
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => bail!("{} already exists and is not empty: choose another name", folder.display()),
        },
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).with_context(|| format!("cannot use {} as a project's folder", folder.display())),
    }
}

/// A project under construction.
struct Project<'p> {
    name: &'p str,
    /// The path of the template among all templates.
    template: &'p Path,
    folder: &'p Path,
}

impl Project<'_> {
    fn write(&self, folder: &Dir<'_>) -> anyhow::Result<()> {
        for entry in folder.entries() {
            match entry {
                DirEntry::Dir(below) if below.path().ends_with(COMPILED) => {}
                DirEntry::Dir(below) => self.write(below)?,
                DirEntry::File(file) => self.write_file(file)?,
            }
        }
        Ok(())
    }

    fn write_file(&self, file: &File<'_>) -> anyhow::Result<()> {
        let within = file.path().strip_prefix(self.template).context("a template contains its files")?;
        let path = self.rendered(within.to_str().context("templates have plain names")?);
        let path = self.folder.join(path.trim_end_matches(ENDING));
        let is_copied = COPIED.iter().any(|folder| within.starts_with(folder));
        let content = match file.contents_utf8() {
            Some(text) if !is_copied => self.rendered(text).into_bytes(),
            _ => file.contents().to_vec(),
        };
        let cannot = || format!("cannot write {}", path.display());
        fs::create_dir_all(path.parent().unwrap_or(self.folder)).with_context(cannot)?;
        let mut written = fs::File::create_new(&path).with_context(cannot)?;
        written.write_all(&content).with_context(cannot)
    }

    fn rendered(&self, text: &str) -> String {
        text.replace(NAME, self.name).replace(IDENTIFIER, &self.name.replace('-', "_"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[test]
    fn names_are_those_of_services_and_of_crates() {
        for good in ["todo", "my-list", "a", "list2", "deep/below/todo", "/tmp/todo/"] {
            assert!(name(Path::new(good)).is_ok(), "{good}");
        }
        let long = "a".repeat(NAME_LIMIT + 1);
        for bad in
            ["", ".", "..", "/", "Todo", "to do", "2do", "-x", "x-", "to_do", "töpfe", "match", "serde", "host", &long]
        {
            let refused = name(Path::new(bad)).unwrap_err().to_string();
            assert!(refused.contains(": choose a"), "{bad}: {refused}");
        }
    }
}
