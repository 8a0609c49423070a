//! One build: a shell command in a process group of its own.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, Command};

/// How long a build may take to end after SIGTERM.
const ENDS: Duration = Duration::from_secs(2);

/// A running build. Its output goes to the terminal as it is.
pub(super) struct Build {
    shell: Child,
    group: Option<Pid>,
}

impl Build {
    /// Starts a command in this folder. It finds the manifest in `COMPTOIR_MANIFEST`.
    ///
    /// # Errors
    /// The shell cannot be started.
    pub(super) fn start(command: &str, folder: &Path, manifest: &Path) -> io::Result<Self> {
        let mut shell = Command::new("sh");
        shell.args([OsStr::new("-c"), OsStr::new(command)]).env("COMPTOIR_MANIFEST", manifest);
        // No folder in the path of the manifest means the current folder.
        if folder != Path::new("") {
            shell.current_dir(folder);
        }
        // The group makes it possible to end everything that the shell started.
        let shell = shell.stdin(Stdio::null()).process_group(0).spawn()?;
        let group = shell.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        Ok(Self { shell, group })
    }

    /// Waits for its end. This may be cancelled and called again.
    pub(super) async fn wait(&mut self) -> io::Result<ExitStatus> {
        self.shell.wait().await
    }

    /// Ends the build and everything that it started: with SIGTERM, and with SIGKILL after two seconds.
    pub(super) async fn end(mut self) {
        self.signal(Signal::TERM);
        let _ = tokio::time::timeout(ENDS, self.shell.wait()).await;
        self.signal(Signal::KILL);
        let _ = self.shell.wait().await;
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = self.group {
            // Fails if all of them have ended.
            let _ = kill_process_group(group, signal);
        }
    }
}
