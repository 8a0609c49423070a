//! Operating system: the signals that stop the host, and its limit of open file descriptors.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// File descriptors for everything except connections: listeners, databases, components, compilers.
const OTHER_DESCRIPTORS: u64 = 512;

/// The signals that shut the host down cleanly: SIGTERM, SIGINT and SIGHUP.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// None if SIGHUP was ignored when the program started, for example by `nohup`.
    hang_up: Option<Signal>,
}

impl Signals {
    /// Catches these signals from now on instead of letting them kill the process.
    ///
    /// # Errors
    /// The system refuses to install a handler.
    pub(crate) fn new() -> std::io::Result<Self> {
        let hang_up = if ignores_hang_up() { None } else { Some(signal(SignalKind::hangup())?) };
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())?, hang_up })
    }

    /// Waits for the next of these signals.
    pub(crate) async fn any(&mut self) {
        let hang_up = async {
            match &mut self.hang_up {
                Some(hang_up) => hang_up.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            _ = hang_up => {}
        }
    }
}

/// Whether the program was started with SIGHUP ignored. False on systems without `/proc`.
fn ignores_hang_up() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    // Signal 1 is bit 0 of the mask (proc_pid_status(5)).
    ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 != 0)
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
    let needed = OTHER_DESCRIPTORS.saturating_add(connections as u64);
    if let Some(limit) = limit.filter(|limit| *limit < needed) {
        tracing::warn!(
            limit,
            needed,
            "the system allows {limit} open file descriptors, too few for {connections} `connections` in the manifest: raise the \
             hard limit to {needed} (`ulimit -Hn`, or LimitNOFILE= in the systemd unit), or set `connections` in [listeners] to \
             {} or less",
            limit.saturating_sub(OTHER_DESCRIPTORS).max(1)
        );
    }
}
