//! Which core serves and which one asks: the first two that this process may use.
//!
//! With one core alone nothing is pinned, and the numbers are those of a server and its clients in each other's way.

use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context as _, bail};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// What the program calls itself with to run another one on the serving core.
pub const ROLE: &str = "pinned";

struct Cores {
    server: usize,
    load: usize,
}

/// None where there is but one.
fn cores() -> Option<&'static Cores> {
    static CORES: OnceLock<Option<Cores>> = OnceLock::new();
    let find = || {
        let may_use = sched_getaffinity(None).ok()?;
        let mut usable = (0..CpuSet::MAX_CPU).filter(|core| may_use.is_set(*core));
        Some(Cores { server: usable.next()?, load: usable.next()? })
    };
    CORES.get_or_init(find).as_ref()
}

/// Says where things run, for the head of the table.
pub fn describe() -> String {
    match cores() {
        Some(Cores { server, load }) => format!("servers on core {server}, load from core {load}"),
        None => "servers and load share the only core, which blurs all of it".to_owned(),
    }
}

/// Keeps the calling thread on the core that load comes from.
pub fn pin_load() {
    if let Some(cores) = cores() {
        // Where that is not allowed, the numbers are noisier and as true.
        let _ = pin(cores.load);
    }
}

/// The same command on the serving core, by way of this program: the pid stays the command's own.
pub fn on_server_core(command: &Command) -> anyhow::Result<Command> {
    let own = std::env::current_exe().context("cannot find the path of this program")?;
    let mut pinned = Command::new(own);
    let core = cores().map_or_else(String::new, |cores| cores.server.to_string());
    pinned.args([ROLE, &core]).arg(command.get_program()).args(command.get_args());
    Ok(pinned)
}

/// Becomes the program in the arguments, on the core that the first of them names.
pub fn become_pinned(arguments: &[String]) -> anyhow::Result<()> {
    let [core, program, rest @ ..] = arguments else { bail!("`{ROLE}` needs a core and a program") };
    if let Ok(core) = core.parse() {
        pin(core)?;
    }
    Err(Command::new(program).args(rest).exec()).with_context(|| format!("cannot run {program}"))
}

fn pin(core: usize) -> rustix::io::Result<()> {
    let mut only = CpuSet::new();
    only.set(core);
    sched_setaffinity(None, &only)
}
