//! `comptoir doctor`: checks the machine for the host of a manifest. Changes nothing.

use std::fmt::Display;
use std::fs;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, bail};
use bytesize::ByteSize;
use clap::Args;
use comptoir::admin::{LOW_BYTES, NEARLY_FULL_BYTES, free_bytes};
use comptoir::engine::Engines;
use comptoir::host::reserved_instances;
use comptoir::manifest::{Listeners, Manifest};
use rustix::fs::{Access, access};
use rustix::process::{Resource, geteuid, getrlimit};
use storage::permissions;

use crate::client;
use crate::output::{BAD, GOOD, WARNING, outln, styled};
use crate::project::{DataOption, ManifestOption};
use crate::system::descriptors_for;

/// The first kernel with `PAGEMAP_SCAN`, by which the host finds the pages that an instance wrote.
const FAST_RESETS: (u32, u32) = (6, 7);

/// A year in seconds, roughly.
const YEAR: u64 = 365 * 24 * 60 * 60;

/// How far a file of the data folder may be ahead of the clock.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(60);

/// `comptoir doctor`
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    #[command(flatten)]
    manifest: ManifestOption,
    #[command(flatten)]
    data: DataOption,
}

/// The result of one check.
enum Finding {
    Fine(String),
    /// The host works, but worse than it could.
    Worse {
        what: String,
        cure: &'static str,
    },
    /// The host does not start, or not safely.
    Broken {
        what: String,
        cure: &'static str,
    },
}

use Finding::{Broken, Fine, Worse};

impl Doctor {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let manifest = Manifest::read(&self.manifest.find()?)?;
        let data = self.data.find();
        let memory = Memory::of(&manifest)?;
        let mut broken = 0;
        let checks: [(&str, Vec<Finding>); 8] = [
            ("kernel", vec![kernel()]),
            ("swap", vec![memory.swap()]),
            ("address space", vec![memory.address_space()]),
            ("descriptors", vec![descriptors(manifest.listeners.connections, getrlimit(Resource::Nofile).maximum)]),
            ("clock", vec![clock(&data, SystemTime::now())]),
            ("disk", vec![disk(&data)]),
            ("permissions", permissions_of(&data)),
            ("ports", ports(&manifest, &data)),
        ];
        for (name, findings) in checks {
            for finding in findings {
                broken += usize::from(matches!(finding, Broken { .. }));
                match finding {
                    Fine(what) => outln!("{}      {name:<14} {what}", styled(GOOD, "ok")),
                    Worse { what, cure } => {
                        outln!("{}   {name:<14} {what}\n        cure: {cure}", styled(WARNING, "worse"));
                    }
                    Broken { what, cure } => {
                        outln!("{}  {name:<14} {what}\n        cure: {cure}", styled(BAD, "broken"));
                    }
                }
            }
        }
        if broken > 0 {
            bail!(
                "{broken} of these findings keep the host from serving safely: cure them, then run `comptoir doctor` again"
            );
        }
        Ok(())
    }
}

fn kernel() -> Finding {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = release.split(['.', '-']).map_while(|number| number.trim().parse().ok());
    match (numbers.next(), numbers.next()) {
        (Some(major), Some(minor)) if (major, minor) >= FAST_RESETS => Fine(format!("Linux {}", release.trim())),
        _ => Worse {
            what: format!("Linux {} resets the whole memory of each instance, which is slower", release.trim()),
            cure: "use Linux 6.7 or newer",
        },
    }
}

/// The engine of a host, as its start would make it.
struct Memory {
    instances: u32,
    engines: anyhow::Result<Engines>,
}

impl Memory {
    fn of(manifest: &Manifest) -> anyhow::Result<Self> {
        let cache = tempfile::tempdir().context("cannot create a temporary folder")?;
        let instances = reserved_instances(manifest);
        Ok(Self { instances, engines: Engines::new(&cache.path().join("cache"), instances) })
    }

    fn address_space(&self) -> Finding {
        let instances = self.instances;
        match &self.engines {
            Ok(_) => Fine(format!("enough for {instances} instances and streams")),
            Err(error) => Broken {
                what: format!("not enough for {instances} instances and streams: {error:#}"),
                cure: "lower `instances` and `streams` in the manifest, or allow more: `ulimit -v unlimited`, `sysctl vm.overcommit_memory=1`",
            },
        }
    }

    fn swap(&self) -> Finding {
        let Ok(engines) = &self.engines else { return Fine("not checked without address space".to_owned()) };
        let reset = engines.reset();
        let what = format!("resets {}: {}", reset.way(), reset.reason);
        let cure = "turn swap off (`swapoff -a`), or set MemorySwapMax=0 in the systemd unit";
        match (reset.is_safe, reset.scans) {
            (true, true) => Fine(what),
            (true, false) => Worse { what, cure },
            (false, _) => Broken { what, cure },
        }
    }
}

/// `limit` is the hard limit of the system. None if there is none.
fn descriptors(connections: usize, limit: Option<u64>) -> Finding {
    let needed = descriptors_for(connections);
    match limit {
        Some(limit) if limit < needed => Worse {
            what: format!("at most {limit} open files, and {connections} `connections` need {needed}"),
            cure: "raise the hard limit (`ulimit -Hn`, or LimitNOFILE= in the systemd unit), or lower `connections` in [listeners]",
        },
        limit => Fine(match limit {
            Some(limit) => format!("{limit} open files, {needed} needed"),
            None => "no limit of open files".to_owned(),
        }),
    }
}

/// Tokens and sessions end by the clock. So it must not be behind what the host has written.
fn clock(data: &Path, now: SystemTime) -> Finding {
    let broken =
        |what| Broken { what, cure: "set the clock and keep it right, for example with `timedatectl set-ntp true`" };
    let since_1970 = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    if since_1970.as_secs() / YEAR < 55 {
        return broken("the clock is before 2025".to_owned());
    }
    let files = fs::read_dir(data).into_iter().flatten().flatten();
    let newest = files.filter_map(|file| file.metadata().ok()?.modified().ok()).max();
    match newest.and_then(|newest| newest.duration_since(now).ok()).filter(|ahead| *ahead > CLOCK_TOLERANCE) {
        Some(ahead) => broken(format!(
            "a file in {} is {} newer than the clock, so tokens would live longer",
            data.display(),
            humantime::format_duration(Duration::from_secs(ahead.as_secs()))
        )),
        None => Fine(format!("{}, not behind the data folder", humantime::format_rfc3339_seconds(now))),
    }
}

/// The folder itself, or the nearest one above that exists.
fn existing(data: &Path) -> PathBuf {
    let data = std::path::absolute(data).unwrap_or_else(|_| data.to_owned());
    data.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/")).to_owned()
}

fn disk(data: &Path) -> Finding {
    let folder = existing(data);
    let cure = "free some space, or choose another data folder with --data";
    let free = match free_bytes(&folder) {
        Ok(free) => free,
        Err(error) => return Broken { what: format!("cannot look at {}: {error}", folder.display()), cure },
    };
    let what = format!("{} free for {}", ByteSize::b(free).display().iec(), data.display());
    match free {
        _ if free < NEARLY_FULL_BYTES => Broken { what, cure },
        _ if free < LOW_BYTES => Worse { what, cure },
        _ => Fine(what),
    }
}

fn permissions_of(data: &Path) -> Vec<Finding> {
    let broken = |what: String, cure| Broken { what, cure };
    let Ok(metadata) = fs::metadata(data) else {
        let folder = existing(data);
        return vec![match access(&folder, Access::WRITE_OK | Access::EXEC_OK) {
            Ok(()) => Fine(format!("{} can be created", data.display())),
            Err(error) => broken(
                format!("cannot create {} in {}: {error}", data.display(), folder.display()),
                "choose another data folder with --data, or run as a user who may write there",
            ),
        }];
    };
    let mut findings = Vec::new();
    if metadata.uid() != geteuid().as_raw() {
        let what = format!("{} belongs to user {}, not to this one", data.display(), metadata.uid());
        findings.push(broken(what, "run as the user of the host, or give the folder to this user with `chown -R`"));
    }
    if let Some(mode) = permissions::open_to_others(&metadata) {
        let what = format!("{} has mode {mode:03o}, so others may write to it", data.display());
        findings.push(broken(what, "`chmod 700` on the data folder"));
    }
    for name in ["admin.token", "signing.key"] {
        let exposed = fs::metadata(data.join(name)).ok().and_then(|file| permissions::exposed(&file));
        if let Some(mode) = exposed {
            let what = format!("{} has mode {mode:03o}, so others may read it", data.join(name).display());
            findings.push(broken(
                what,
                "`chmod 600` on the file, and replace what it contains, because others may know it",
            ));
        }
    }
    if findings.is_empty() {
        findings.push(Fine(format!("only this user may use {}", data.display())));
    }
    findings
}

/// Tries all ports of a manifest. A host that serves with this data folder may have them.
fn ports(manifest: &Manifest, data: &Path) -> Vec<Finding> {
    let Listeners { gateway, admin, .. } = manifest.listeners;
    let own = manifest.services.iter().filter_map(|(name, service)| Some((name.clone(), service.listen?)));
    let all = [("gateway".to_owned(), gateway), ("admin".to_owned(), admin)].into_iter().chain(own);
    let serves = client::serves(data);
    all.map(|(name, address)| port(&name, address, serves)).collect()
}

fn port(name: &dyn Display, address: SocketAddr, serves: bool) -> Finding {
    let Err(error) = TcpListener::bind(address) else { return Fine(format!("{name} {address} is free")) };
    let what = format!("{name} {address}: {error}");
    let cure = match error.kind() {
        ErrorKind::AddrInUse if serves => {
            return Fine(format!("{name} {address} is in use, and a host serves with this data folder"));
        }
        ErrorKind::AddrInUse => "stop the program that uses the port, or choose another in the manifest",
        ErrorKind::PermissionDenied => {
            "choose a port above 1023, or allow it with AmbientCapabilities=CAP_NET_BIND_SERVICE in the systemd unit"
        }
        ErrorKind::AddrNotAvailable => "name an address that this machine has, or 0.0.0.0 for all of them",
        _ => "choose another address in the manifest",
    };
    Broken { what, cure }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn is_broken(finding: &Finding) -> bool {
        matches!(finding, Broken { .. })
    }

    #[test]
    fn a_clock_behind_the_data_folder_or_before_2025_is_broken() {
        let data = tempfile::tempdir().unwrap();
        fs::write(data.path().join("auth.db"), "").unwrap();
        let now = SystemTime::now();
        assert!(!is_broken(&clock(data.path(), now)));
        assert!(is_broken(&clock(data.path(), now - Duration::from_secs(3600))));
        assert!(is_broken(&clock(Path::new("/nowhere"), SystemTime::UNIX_EPOCH)));
    }

    #[test]
    fn a_data_folder_or_a_key_that_others_may_use_is_broken() {
        let data = tempfile::tempdir().unwrap();
        let set =
            |name: &str, mode| fs::set_permissions(data.path().join(name), fs::Permissions::from_mode(mode)).unwrap();
        let broken = || permissions_of(data.path()).iter().filter(|finding| is_broken(finding)).count();
        fs::write(data.path().join("admin.token"), "").unwrap();
        set("admin.token", 0o600);
        assert_eq!(broken(), 0);
        set("admin.token", 0o644);
        assert_eq!(broken(), 1);
        set("", 0o777);
        assert_eq!(broken(), 2);
        assert!(!is_broken(&permissions_of(&data.path().join("later"))[0]));
    }

    #[test]
    fn a_port_in_use_is_broken_unless_the_host_of_the_data_folder_serves() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        assert!(is_broken(&port(&"gateway", address, false)));
        assert!(!is_broken(&port(&"gateway", address, true)));
        assert!(is_broken(&port(&"gateway", "192.0.2.1:0".parse().unwrap(), true)), "no address of this machine");
    }

    #[test]
    fn too_few_descriptors_are_worse() {
        assert!(matches!(descriptors(1000, Some(1024)), Worse { .. }));
        assert!(matches!(descriptors(500, Some(1024)), Fine(_)));
        assert!(matches!(descriptors(1000, None), Fine(_)));
    }
}
