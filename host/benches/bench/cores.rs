//! Pins the server to one core and the load to another: the first two that this process may use.
//!
//! With a single core nothing is pinned, and server and clients disturb each other.

use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context as _, bail};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The argument with which this program starts itself to run another program on the server's core.
pub const ROLE: &str = "pinned";

struct Cores {
    server: usize,
    load: usize,
}

/// The two cores. None if there is only one.
fn cores() -> Option<&'static Cores> {
    static CORES: OnceLock<Option<Cores>> = OnceLock::new();
    let find = || {
        let may_use = sched_getaffinity(None).ok()?;
        let mut usable = (0..CpuSet::MAX_CPU).filter(|core| may_use.is_set(*core));
        Some(Cores { server: usable.next()?, load: usable.next()? })
    };
    CORES.get_or_init(find).as_ref()
}

/// Describes the cores, for the head of the table.
pub fn describe() -> String {
    match cores() {
        Some(Cores { server, load }) => format!("servers on core {server}, load from core {load}"),
        None => "servers and load share the only core, so all numbers are blurred".to_owned(),
    }
}

/// Pins the calling thread to the load's core.
pub fn pin_load() {
    if let Some(cores) = cores() {
        // If the system forbids it, the numbers are only noisier.
        let _ = pin(cores.load);
    }
}

/// The same command, pinned to the server's core. This program pins itself and then executes the command, so the pid is the
/// command's own.
pub fn on_server_core(command: &Command) -> anyhow::Result<Command> {
    let own = std::env::current_exe().context("cannot find the path of this program")?;
    let mut pinned = Command::new(own);
    let core = cores().map_or_else(String::new, |cores| cores.server.to_string());
    pinned.args([ROLE, &core]).arg(command.get_program()).args(command.get_args());
    Ok(pinned)
}

/// Executes the program in the arguments, on the core that the first argument names.
pub fn become_pinned(arguments: &[String]) -> anyhow::Result<()> {
    let [core, program, rest @ ..] = arguments else { bail!("`{ROLE}` takes a core and a program") };
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
