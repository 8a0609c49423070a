//! What people see at a terminal: the banner, failures as lines, colours. `script` gives the program a terminal.

use std::process::Stdio;

use tempfile::TempDir;
use testing::built::{compiled, program};
use testing::process::run;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use super::{UNRULY, get, manifest};

/// `comptoir serve` at a terminal.
struct Terminal {
    lines: Lines<BufReader<ChildStdout>>,
    gateway: String,
    before: Vec<String>,
    _process: Child,
    _folder: TempDir,
}

impl Terminal {
    /// Starts the program with these options and variables, and waits until it serves.
    async fn serve(options: &str, variables: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let manifest = manifest(&folder, UNRULY);
        let serve = format!(
            "exec '{}' serve --manifest '{}' --data '{}' --cache '{}' {options}",
            program().display(),
            manifest.display(),
            folder.path().join("data").display(),
            compiled().display()
        );
        let mut script = Command::new("script");
        script.args(["--quiet", "--flush", "--command", &serve, "/dev/null"]);
        script.env_remove("NO_COLOR").env("TERM", "xterm").envs(variables.iter().copied());
        script.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut process = script.spawn().expect("script is installed");
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut terminal =
            Self { lines, gateway: String::new(), before: Vec::new(), _process: process, _folder: folder };
        let line = terminal.until("gateway").await;
        let line = anstream::adapter::strip_str(&line).to_string();
        terminal.gateway = line.trim().trim_start_matches("gateway").trim().to_owned();
        terminal.until("admin").await;
        terminal
    }

    /// Waits for a line with this text. Keeps those before it.
    async fn until(&mut self, text: &str) -> String {
        loop {
            let line = self.lines.next_line().await.unwrap();
            let line = line.unwrap_or_else(|| panic!("it ended and did not say `{text}`: {:#?}", self.before));
            if line.contains(text) {
                return line;
            }
            self.before.push(line);
        }
    }
}

#[tokio::test]
async fn on_a_terminal_only_failing_requests_have_lines_and_a_panic_has_several() {
    let mut terminal = Terminal::serve("", &[]).await;
    for path in ["headers", "nowhere", "trap"] {
        get(&format!("{}/unruly/{path}", terminal.gateway), &format!("asked-{path}")).await;
    }
    let line = terminal.until("500 GET /unruly/trap").await;
    assert!(line.contains("request_id=asked-trap") && line.contains("error: "), "{line}");
    assert!(terminal.until("why").await.contains("wasm trap: wasm `unreachable` instruction"), "the cause");
    assert!(terminal.until("out").await.contains("about to trap"), "what the guest printed");
    assert!(!terminal.before.iter().any(|line| line.contains("asked-")), "{:#?}", terminal.before);
}

#[tokio::test]
async fn log_requests_shows_every_request_on_a_terminal() {
    let mut terminal = Terminal::serve("--log requests", &[]).await;
    get(&format!("{}/unruly/headers", terminal.gateway), "fine").await;
    let line = terminal.until("request_id=fine").await;
    assert!(line.contains("200 GET /unruly/headers") && !line.contains("error"), "{line}");
}

#[tokio::test]
async fn colours_are_for_terminals_and_no_color_turns_them_off() {
    for (variables, coloured) in [(&[][..], true), (&[("NO_COLOR", "1")][..], false)] {
        let mut terminal = Terminal::serve("", variables).await;
        get(&format!("{}/unruly/trap", terminal.gateway), "trap").await;
        let line = terminal.until("500 GET /unruly/trap").await;
        assert_eq!(line.contains("\u{1b}[31m"), coloured, "{line:?}");
        let escapes = terminal.before.iter().chain([&line]).any(|line| line.contains('\u{1b}'));
        assert_eq!(escapes, coloured, "{:#?}", terminal.before);
    }
    let piped = run(&["status", "--data", "/nowhere"]).await;
    let said = String::from_utf8_lossy(&piped.stderr).into_owned();
    assert!(said.starts_with("comptoir: no host has served") && !said.contains('\u{1b}'), "{said:?}");
}

#[tokio::test]
async fn help_groups_the_commands_and_has_examples() {
    let help = run(&["--help"]).await;
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    for part in
        ["Write a service:\n  new ", "Change a running host:\n  deploy ", "Options:\n", "Examples:\n  comptoir new"]
    {
        assert!(help.contains(part), "{part}: {help}");
    }
    assert!(!help.contains('\u{1b}') && !help.contains("compile "), "{help}");
    for command in ["deploy", "logs", "status", "serve"] {
        let help = run(&[command, "--help"]).await;
        let help = String::from_utf8_lossy(&help.stdout).into_owned();
        assert!(help.contains(&format!("Examples:\n  comptoir {command}")), "{help}");
    }
}
