//! Wakes the session when something in a watched folder changes.
//!
//! Watches single folders, not trees, because a tree contains folders like `target` with thousands of others. A wake-up says nothing
//! about what changed: the session compares all sources anyway. So lost events cost at most [`LOOKS`], and systems without inotify
//! need nothing else. This is also why the crate `notify`, which abstracts from systems, would help little here.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout;

/// No change for this long means that an editor or a checkout is done.
const QUIET: Duration = Duration::from_millis(50);

/// The longest wait for quiet.
const SETTLES: Duration = Duration::from_millis(500);

/// How often the session looks without an event. Some file systems, for example of networks, report none.
const LOOKS: Duration = Duration::from_secs(if cfg!(target_os = "linux") { 2 } else { 1 });

/// Wakes the session.
#[derive(Debug, Default)]
pub(super) struct Wake {
    changed: Notify,
    reloads: AtomicBool,
}

impl Wake {
    /// Reloads the manifest, even if its text is the same.
    pub(super) fn reload(&self) {
        self.reloads.store(true, Ordering::Relaxed);
        self.changed.notify_one();
    }

    /// Whether somebody asked to reload, since the last call.
    pub(super) fn takes_reload(&self) -> bool {
        self.reloads.swap(false, Ordering::Relaxed)
    }

    /// Waits until something may have changed, and until nothing changes any more.
    pub(super) async fn wait(&self) {
        if timeout(LOOKS, self.changed.notified()).await.is_err() {
            return;
        }
        let settles = async { while timeout(QUIET, self.changed.notified()).await.is_ok() {} };
        let _ = timeout(SETTLES, settles).await;
    }
}

/// Watches folders.
pub(super) struct Watcher {
    #[cfg(target_os = "linux")]
    system: Option<inotify::Watches>,
    folders: BTreeSet<PathBuf>,
}

impl Watcher {
    /// A watcher without any folder. If the system has none, the session looks now and then.
    pub(super) fn new(wake: &Arc<Wake>) -> Self {
        #[cfg(target_os = "linux")]
        let system = match start(wake.clone()) {
            Ok(watches) => Some(watches),
            Err(error) => {
                tracing::warn!(%error, "cannot watch files, looking at them every {LOOKS:?}");
                None
            }
        };
        #[cfg(not(target_os = "linux"))]
        let _ = wake;
        Self {
            #[cfg(target_os = "linux")]
            system,
            folders: BTreeSet::new(),
        }
    }

    /// Watches these folders, and no other new ones. Former folders may still wake the session.
    pub(super) fn watch(&mut self, folders: BTreeSet<PathBuf>) {
        #[cfg(target_os = "linux")]
        for folder in &folders {
            let Some(system) = &mut self.system else { break };
            // Also those that are watched already: one that was deleted and made again is another folder to the system.
            if let Err(error) = system.add(folder, changes())
                && !self.folders.contains(folder)
            {
                tracing::warn!(%error, "cannot watch {}, looking at it every {LOOKS:?}", folder.display());
            }
        }
        self.folders = folders;
    }
}

#[cfg(target_os = "linux")]
fn changes() -> inotify::WatchMask {
    use inotify::WatchMask;
    WatchMask::CLOSE_WRITE | WatchMask::CREATE | WatchMask::DELETE | WatchMask::MOVE | WatchMask::ONLYDIR
}

/// Starts the thread that waits for events. It ends with the process.
#[cfg(target_os = "linux")]
fn start(wake: Arc<Wake>) -> std::io::Result<inotify::Watches> {
    let mut system = inotify::Inotify::init()?;
    let watches = system.watches();
    let wait = move || {
        let mut events = [0; 4096];
        while system.read_events_blocking(&mut events).is_ok() {
            wake.changed.notify_one();
        }
    };
    std::thread::Builder::new().name("watcher".to_owned()).spawn(wait)?;
    Ok(watches)
}
