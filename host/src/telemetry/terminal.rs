//! Log lines for a person at a terminal: the time of day, the message and its fields. Errors are red, warnings are yellow. What a guest
//! printed, and why it failed, follow as lines of their own.

use std::fmt::{self, Debug, Write as _};

use anstyle::{AnsiColor, Style};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

const FAINT: Style = Style::new().dimmed();

/// The fields that may have several lines, each with the word before them.
const LINES: [(&str, &str); 2] = [("cause", "why"), ("guest_output", "out")];

/// The format of lines on a terminal.
pub(super) struct ForTerminal {
    /// Whether to write colours.
    pub(super) colours: bool,
}

/// The fields of a line.
#[derive(Default)]
struct Fields {
    message: String,
    others: Vec<(&'static str, String)>,
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field.name(), value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.add(field.name(), &format!("{value:?}"));
    }
}

impl Fields {
    fn add(&mut self, name: &'static str, value: &str) {
        let value = safe(value);
        if name == "message" { self.message = value } else { self.others.push((name, value)) }
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.others.iter().find(|(other, _)| *other == name).map(|(_, value)| value.as_str())
    }

    /// A request in few words, if this is the line of one.
    fn request(&self) -> Option<String> {
        let (status, method, path) = (self.get("status")?, self.get("method")?, self.get("path")?);
        let took = self.get("duration_us").and_then(|took| took.parse::<f64>().ok());
        let took = took.map(|took| format!("  {:.1} ms", took / 1000.0)).unwrap_or_default();
        Some(format!("{status} {method} {path}{took}"))
    }
}

impl<S, N> FormatEvent<S, N> for ForTerminal
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut line: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        line.write_str(&self.text(*event.metadata().level(), &fields))
    }
}

impl ForTerminal {
    fn text(&self, level: Level, fields: &Fields) -> String {
        let (style, faint) = if self.colours { (style(level), FAINT) } else { (Style::new(), Style::new()) };
        let request = fields.request();
        let message = match &request {
            Some(request) => format!("{request}  {}", fields.message),
            None => fields.message.clone(),
        };
        let mut text = format!("{faint}{}{faint:#} {style}{}{message}{style:#}", time_of_day(), word(level));
        let is_said = |name: &str| {
            let of_request = ["status", "method", "path", "duration_us"].contains(&name) && request.is_some();
            of_request || LINES.iter().any(|(long, _)| *long == name)
        };
        for (name, value) in
            fields.others.iter().filter(|(name, value)| !is_said(name) && !is_subject(name, value, fields))
        {
            let _ = write!(text, " {faint}{name}={value}{faint:#}");
        }
        text.push('\n');
        for (name, before) in LINES {
            let value = fields.get(name).unwrap_or_default();
            for line in value.split(r"\n").map(str::trim_end).filter(|line| !line.is_empty()) {
                let _ = writeln!(text, "    {faint}{before}{faint:#} {line}");
            }
        }
        text
    }
}

/// Whether a message begins with the value of this field.
fn is_subject(name: &str, value: &str, fields: &Fields) -> bool {
    name == "service" && fields.message.split([':', ' ']).any(|word| word == value)
}

fn style(level: Level) -> Style {
    match level {
        Level::ERROR => AnsiColor::Red.on_default(),
        Level::WARN => AnsiColor::Yellow.on_default(),
        Level::INFO => Style::new(),
        _ => FAINT,
    }
}

fn word(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error: ",
        Level::WARN => "warning: ",
        _ => "",
    }
}

/// The time of day in UTC.
fn time_of_day() -> String {
    let now = time::OffsetDateTime::now_utc();
    format!("{:02}:{:02}:{:02}", now.hour(), now.minute(), now.second())
}

/// A text that does not control the terminal. Line breaks stay: only the host's own messages have some.
fn safe(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        if letter.is_control() && letter != '\n' { safe.extend(letter.escape_default()) } else { safe.push(letter) }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(level: Level, colours: bool, fields: &[(&'static str, &str)]) -> String {
        let mut found = Fields::default();
        fields.iter().for_each(|(name, value)| found.add(name, value));
        let text = ForTerminal { colours }.text(level, &found);
        let (_, text) = text.split_once(if colours { "\u{1b}[0m " } else { " " }).unwrap();
        text.to_owned()
    }

    #[test]
    fn a_panic_of_a_guest_is_printed_as_lines() {
        let text = shown(
            Level::ERROR,
            false,
            &[
                ("message", "request failed"),
                ("request_id", "7"),
                ("method", "POST"),
                ("path", "/orders"),
                ("status", "500"),
                ("duration_us", "1250"),
                ("cause", r"wasm trap: unreachable; wasm backtrace:\n    0: 0x1f - orders::place"),
                ("guest_output", r"thread 'main' panicked at src/lib.rs:7:5:\nno stock\n"),
            ],
        );
        assert_eq!(
            text,
            "error: 500 POST /orders  1.2 ms  request failed request_id=7\n    why wasm trap: unreachable; wasm backtrace:\n    \
             why     0: 0x1f - orders::place\n    out thread 'main' panicked at src/lib.rs:7:5:\n    out no stock\n"
        );
    }

    #[test]
    fn errors_are_red_and_warnings_yellow_and_no_field_controls_the_terminal() {
        let revert = shown(Level::WARN, true, &[("message", "orders: reverted"), ("service", "orders")]);
        assert_eq!(revert, "\u{1b}[33mwarning: orders: reverted\u{1b}[0m\n");
        let error = shown(Level::ERROR, true, &[("message", "a\u{1b}[2Jb"), ("path", "\u{7}")]);
        assert!(error.starts_with("\u{1b}[31merror: a\\u{1b}[2Jb\u{1b}[0m"), "{error:?}");
        assert!(error.contains(r"path=\u{7}"), "{error:?}");
    }
}
