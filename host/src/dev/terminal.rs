//! The developer's answers to questions, if there is a terminal.

use std::io::{IsTerminal as _, stdin};

use rustix::process::getpgrp;
use rustix::termios::{QueueSelector, tcflush, tcgetpgrp};
use tokio::sync::mpsc;

/// The lines that a developer types. Empty until the first question.
#[derive(Default)]
pub(super) struct Terminal(Option<mpsc::UnboundedReceiver<String>>);

impl Terminal {
    /// Whether somebody may answer. Forgets what was typed before, because it does not answer this question.
    ///
    /// A process in the background may not read its terminal: the system would stop it.
    pub(super) fn begins_to_ask(&mut self) -> bool {
        let is_in_foreground = || tcgetpgrp(stdin()).is_ok_and(|group| group == getpgrp());
        if !stdin().is_terminal() || !is_in_foreground() {
            return false;
        }
        // If this fails, a line that was typed before counts.
        let _ = tcflush(stdin(), QueueSelector::IFlush);
        match &mut self.0 {
            Some(lines) => while lines.try_recv().is_ok() {},
            None => self.0 = start(),
        }
        self.0.is_some()
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

/// Starts the thread that reads. It ends with the process.
fn start() -> Option<mpsc::UnboundedReceiver<String>> {
    let (typed, lines) = mpsc::unbounded_channel();
    let read = move || {
        for line in stdin().lines().map_while(Result::ok) {
            if typed.send(line).is_err() {
                return;
            }
        }
    };
    std::thread::Builder::new().name("terminal".to_owned()).spawn(read).ok().map(|_| lines)
}
