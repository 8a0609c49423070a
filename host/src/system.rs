//! Operating system: the signals that stop the host, and its limit of open file descriptors.

use std::io::IsTerminal as _;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// File descriptors for everything except connections: listeners, databases, components, compilers.
const OTHER_DESCRIPTORS: u64 = 512;

/// The signals that shut the host down cleanly, SIGTERM and SIGINT, and the one that reloads its manifest, SIGHUP.
///
/// SIGHUP also means that a terminal is gone. If the program had one when it started and has none any more, SIGHUP shuts it down.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// None if SIGHUP was ignored when the program started, for example by `nohup`.
    hang_up: Option<Signal>,
    had_terminal: bool,
}

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    Stop,
    Reload,
}

impl Signals {
    /// Catches these signals from now on instead of letting them kill the process.
    ///
    /// # Errors
    /// The system refuses to install a handler.
    pub(crate) fn new() -> std::io::Result<Self> {
        let hang_up = if ignores_hang_up() { None } else { Some(signal(SignalKind::hangup())?) };
        let (terminate, interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        Ok(Self { terminate, interrupt, hang_up, had_terminal: has_terminal() })
    }

    /// Waits for a signal that stops the host.
    pub(crate) async fn stop(&mut self) {
        while self.next().await == Asked::Reload {}
    }

    /// Waits for the next of these signals.
    pub(crate) async fn next(&mut self) -> Asked {
        let hang_up = async {
            match &mut self.hang_up {
                Some(hang_up) => hang_up.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.terminate.recv() => Asked::Stop,
            _ = self.interrupt.recv() => Asked::Stop,
            _ = hang_up => if self.had_terminal && !has_terminal() { Asked::Stop } else { Asked::Reload },
        }
    }
}

/// Whether standard input is a terminal that still exists.
fn has_terminal() -> bool {
    std::io::stdin().is_terminal()
}

/// Whether the program was started with SIGHUP ignored. False on systems without `/proc`.
fn ignores_hang_up() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    // Signal 1 is bit 0 of the mask (proc_pid_status(5)).
    ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 != 0)
}

/// The file descriptors of a host with this many connections.
pub(crate) fn descriptors_for(connections: usize) -> u64 {
    OTHER_DESCRIPTORS.saturating_add(connections as u64)
}

/// Raises the soft limit of open descriptors to the hard limit. Warns if that is too low for this number of connections.
pub(crate) fn raise_descriptor_limit(connections: usize) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    if let Err(error) = raised {
        tracing::warn!(%error, ?current, ?maximum, "cannot raise the limit of open file descriptors");
    }
    let limit = if raised.is_ok() { maximum } else { current };
    let needed = descriptors_for(connections);
    if let Some(limit) = limit.filter(|limit| *limit < needed) {
        tracing::warn!(
            limit,
            needed,
            "{limit} open file descriptors are too few for {connections} `connections` in the manifest: raise the \
             hard limit to {needed} (`ulimit -Hn`, or LimitNOFILE= in the systemd unit), or lower `connections` in \
             [listeners] to {}",
            limit.saturating_sub(OTHER_DESCRIPTORS).max(1)
        );
    }
}
