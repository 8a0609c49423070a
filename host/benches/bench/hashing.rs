//! How many passwords the server's core can hash per second, with Argon2id alone in a process of its own.

use std::io::Read as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use argon2::{Algorithm, Argon2, Params, Version};

use crate::cores;

/// The argument with which this program starts itself to measure hashing.
pub const ROLE: &str = "hashing";

/// Hashes per second on the server's core, with the shop's parameters.
pub fn rate(time: Duration) -> anyhow::Result<f64> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args([ROLE, &time.as_secs_f64().to_string()]);
    let mut child = cores::on_server_core(&command)?.stdout(Stdio::piped()).spawn()?;
    let mut said = String::new();
    child.stdout.take().context("the hashing process has no output")?.read_to_string(&mut said)?;
    child.wait()?;
    said.trim().parse().with_context(|| format!("the hashing process printed {said:?}, not a number"))
}

/// Hashes for the number of seconds in the arguments, and prints the rate per second.
pub fn run(arguments: &[String]) -> anyhow::Result<()> {
    let [seconds] = arguments else { bail!("`{ROLE}` takes a number of seconds") };
    let time = Duration::from_secs_f64(seconds.parse()?);
    let params = Params::new(19_456, 2, 1, None).ok().context("Argon2 refuses the parameters")?;
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let (began, mut hashes, mut out) = (Instant::now(), 0_u32, [0; 32]);
    while began.elapsed() < time {
        argon2.hash_password_into(b"admin", &[7; 16], &mut out).ok().context("Argon2 failed")?;
        hashes += 1;
    }
    println!("{}", f64::from(hashes) / began.elapsed().as_secs_f64());
    Ok(())
}
