//! The developer's answers to questions, if there is a terminal.

use std::io::IsTerminal as _;

use tokio::sync::mpsc;

/// The lines that a developer types. None without a terminal.
pub(super) struct Terminal(Option<mpsc::UnboundedReceiver<String>>);

impl Terminal {
    /// Begins to read standard input, if it is a terminal. The thread that reads ends with the process.
    pub(super) fn open() -> Self {
        if !std::io::stdin().is_terminal() {
            return Self(None);
        }
        let (typed, lines) = mpsc::unbounded_channel();
        let read = move || {
            for line in std::io::stdin().lines().map_while(Result::ok) {
                if typed.send(line).is_err() {
                    return;
                }
            }
        };
        let started = std::thread::Builder::new().name("terminal".to_owned()).spawn(read);
        Self(started.is_ok().then_some(lines))
    }

    /// Whether somebody may answer. Forgets what was typed before, because it answers another question.
    pub(super) fn begins_to_ask(&mut self) -> bool {
        let Some(lines) = &mut self.0 else { return false };
        while lines.try_recv().is_ok() {}
        true
    }

    /// The next line. Waits forever if there is none.
    pub(super) async fn line(&mut self) -> String {
        let line = match &mut self.0 {
            Some(lines) => lines.recv().await,
            None => None,
        };
        match line {
            Some(line) => line,
            None => std::future::pending().await,
        }
    }
}
