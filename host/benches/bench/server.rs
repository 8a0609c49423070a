//! A server in its own process: starts it, finds its address, measures it from outside, stops it.

use std::io::{BufRead as _, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::cores;

/// The unit of processor times in `/proc`: Linux uses hundredths of a second, whatever its timer frequency.
const TICK: Duration = Duration::from_millis(10);

/// A running server. Dropping this kills it.
pub struct Server {
    child: Child,
    /// The address on which it listens.
    pub address: SocketAddr,
    /// The time from the start of the process to its announcement.
    pub started_in: Duration,
}

/// The stream on which a server announces its address.
#[derive(Clone, Copy)]
pub enum Announces {
    /// Standard output. The log on standard error goes to `/dev/null`, so the server still formats and writes it.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Server {
    /// Starts a server on the server's core.
    pub fn start(command: &Command, announces: Announces, before_address: &str) -> anyhow::Result<Self> {
        Self::start_anywhere(cores::on_server_core(command)?, announces, before_address)
    }

    /// Starts a server on all cores, and waits for the line in which its address follows `before_address`.
    pub fn start_anywhere(mut command: Command, announces: Announces, before_address: &str) -> anyhow::Result<Self> {
        let began = Instant::now();
        let (stdout, stderr) = match announces {
            Announces::Stdout => (Stdio::piped(), Stdio::null()),
            Announces::Stderr => (Stdio::null(), Stdio::piped()),
        };
        command.stdin(Stdio::null()).stdout(stdout).stderr(stderr);
        let mut child = command.spawn().with_context(|| format!("cannot run {command:?}"))?;
        let says: Box<dyn Read + Send> = match (child.stdout.take(), child.stderr.take()) {
            (Some(stdout), _) => Box::new(stdout),
            (_, Some(stderr)) => Box::new(stderr),
            _ => bail!("{command:?} has no output"),
        };
        let mut lines = BufReader::new(says).lines();
        let found = lines.by_ref().map_while(Result::ok).find_map(|line| find_address(&line, before_address));
        let started_in = began.elapsed();
        let Some(address) = found else {
            child.kill()?;
            bail!("the server ended without serving ({}); run it by hand to see why: {command:?}", child.wait()?);
        };
        // Discards further output. If nobody read it, the server would block when the pipe is full.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        Ok(Self { child, address, started_in })
    }

    /// Processor time of all threads so far, in steps of ten milliseconds.
    pub fn cpu(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap_or_default();
        // The process name in parentheses may contain spaces. User and system time are the 14th and 15th field.
        let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
        let ticks = fields.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u32>().ok());
        TICK * ticks.sum()
    }

    /// Resident memory in MiB.
    pub fn resident_mib(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok()).map_or(f64::NAN, |kib| kib / 1024.0)
    }

    /// Sends SIGTERM and waits until the process ended.
    pub fn stop(mut self) -> anyhow::Result<()> {
        let pid =
            i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).context("the process id is out of range")?;
        kill_process(pid, Signal::TERM)?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The process may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn find_address(line: &str, before: &str) -> Option<SocketAddr> {
    let (_, rest) = line.split_once(before)?;
    rest.trim().trim_end_matches('/').parse().ok()
}
