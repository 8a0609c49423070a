//! The text of a manifest: finds its values, and shows faults in it.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::de::{DeTable, DeValue};

/// The text of a manifest, and the positions of its values.
#[derive(Debug, Clone)]
pub struct Source {
    file: PathBuf,
    text: Arc<str>,
    /// By dotted key, such as `services.orders.mounts`.
    /// `None` for a value that the command line replaces.
    spans: BTreeMap<String, Option<Range<usize>>>,
}

/// One fault of a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Counted from 1. `None` for a fault of the manifest as a whole.
    pub line: Option<usize>,
    /// The fault, and what to write instead.
    pub message: String,
    /// The line with carets under the fault. Empty if the fault has no line.
    excerpt: String,
}

/// The manifest was refused. Lists all of its faults.
#[derive(Debug, thiserror::Error)]
pub struct ManifestError {
    /// The manifest.
    pub file: PathBuf,
    /// At least one fault, in the order of the file.
    pub faults: Vec<Fault>,
}

impl Source {
    pub(super) fn new(file: &Path, text: &str) -> Self {
        Self { file: file.to_owned(), text: text.into(), spans: BTreeMap::new() }
    }

    /// Records the position of every value.
    pub(super) fn note(&mut self, table: &DeTable<'_>) {
        note(table, "", &mut self.spans);
    }

    /// The manifest's file.
    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    pub(super) fn text(&self) -> Arc<str> {
        self.text.clone()
    }

    /// The line of a byte, counted from 1.
    pub(super) fn line(&self, offset: usize) -> usize {
        self.text.as_bytes().iter().take(offset).filter(|byte| **byte == b'\n').count() + 1
    }

    /// A fault in the value of a dotted key, such as `services.orders.grants`.
    /// If the key is missing, the fault is in the table that should have it.
    pub fn fault(&self, key: &str, message: impl Into<String>) -> Fault {
        let mut keys = std::iter::successors(Some(key), |key| key.rsplit_once('.').map(|(table, _)| table));
        match keys.find_map(|key| self.spans.get(key)) {
            Some(Some(span)) => self.fault_at(span, message),
            _ => Fault::of_the_whole(message),
        }
    }

    /// Forgets the position of a value, so that faults do not show its line.
    /// Call this if an option of the command line replaces the value.
    pub fn forget(&mut self, key: &str) {
        self.spans.insert(key.to_owned(), None);
    }

    /// The error that lists these faults.
    pub fn refuse(&self, mut faults: Vec<Fault>) -> ManifestError {
        faults.sort_by_key(|fault| fault.line);
        faults.dedup();
        ManifestError { file: self.file.clone(), faults }
    }

    pub(super) fn fault_at(&self, span: &Range<usize>, message: impl Into<String>) -> Fault {
        let line = self.line(span.start);
        Fault { line: Some(line), message: message.into(), excerpt: self.excerpt(line, span) }
    }

    /// A line of the text, with carets under the span.
    fn excerpt(&self, number: usize, span: &Range<usize>) -> String {
        let start = self.text.get(..span.start).and_then(|before| before.rfind('\n')).map_or(0, |end| end + 1);
        let line = self.text.get(start..).and_then(|rest| rest.lines().next()).unwrap_or_default();
        let width = |from: usize, to: usize| self.text.get(from..to).map_or(0, |text| text.chars().count());
        let column = width(start, span.start);
        let carets = width(span.start, span.end.min(start + line.len())).max(1);
        // Replace tabs too, so that the caret stands under its character on every terminal.
        let line: String = line.chars().map(|char| if char.is_control() { ' ' } else { char }).collect();
        let (number, gutter) = (number.to_string(), " ".repeat(number.to_string().len()));
        format!("{gutter} |\n{number} | {}\n{gutter} | {}{}", line.trim_end(), " ".repeat(column), "^".repeat(carets))
    }
}

fn note(table: &DeTable<'_>, above: &str, spans: &mut BTreeMap<String, Option<Range<usize>>>) {
    for (key, value) in table {
        let key = format!("{above}{}", key.get_ref());
        if let DeValue::Table(below) = value.get_ref() {
            note(below, &format!("{key}."), spans);
        }
        spans.insert(key, Some(value.span()));
    }
}

impl Fault {
    pub(super) fn of_the_whole(message: impl Into<String>) -> Self {
        Self { line: None, message: message.into(), excerpt: String::new() }
    }
}

impl Display for ManifestError {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        let file = self.file.display();
        if self.faults.len() > 1 {
            writeln!(formatter, "{file}: {} faults", self.faults.len())?;
        }
        for (number, Fault { line, message, excerpt }) in self.faults.iter().enumerate() {
            let line = line.map(|line| format!(":{line}")).unwrap_or_default();
            let (separator, end) = (if number == 0 { "" } else { "\n" }, if excerpt.is_empty() { "" } else { "\n" });
            write!(formatter, "{separator}{file}{line}: {message}{end}{excerpt}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, at: &str) -> String {
        let start = text.find(at).unwrap();
        let source = Source::new(Path::new("shop.toml"), text);
        source.refuse(vec![source.fault_at(&(start..start + at.len()), "it is wrong")]).to_string()
    }

    #[test]
    fn a_fault_is_shown_with_its_line_and_carets() {
        let text = "a = 1\nname = \"café\" # ☕\nb = 2\n";
        assert_eq!(
            shown(text, "\"café\""),
            "shop.toml:2: it is wrong\n  |\n2 | name = \"café\" # ☕\n  |        ^^^^^^"
        );
        assert_eq!(
            shown(text, "# ☕"),
            "shop.toml:2: it is wrong\n  |\n2 | name = \"café\" # ☕\n  |               ^^^"
        );
    }

    #[test]
    fn carets_end_with_the_line_and_control_characters_are_not_shown() {
        let text = "\tx = [\u{1b}\n  1,\n]";
        assert_eq!(shown(text, "[\u{1b}\n  1,\n]"), "shop.toml:1: it is wrong\n  |\n1 |  x = [\n  |      ^^");
        assert_eq!(shown("a = ", "a = "), "shop.toml:1: it is wrong\n  |\n1 | a =\n  | ^^^^");
    }

    #[test]
    fn several_faults_are_counted_and_sorted_by_line() {
        let source = Source::new(Path::new("shop.toml"), "a\nb\n");
        let faults = vec![source.fault_at(&(2..3), "second"), source.fault_at(&(0..1), "first")];
        let shown = source.refuse(faults).to_string();
        assert_eq!(
            shown,
            "shop.toml: 2 faults\nshop.toml:1: first\n  |\n1 | a\n  | ^\nshop.toml:2: second\n  |\n2 | b\n  | ^"
        );
    }
}
