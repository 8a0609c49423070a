//! What the serving core can hash: Argon2id alone, in a process of its own.

use std::io::Read as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use argon2::{Algorithm, Argon2, Params, Version};

use crate::cores;

/// What the program calls itself with to hash and do nothing else.
pub const ROLE: &str = "hashing";

/// Hashes a second on the serving core, with the parameters of the shop's passwords.
pub fn rate(time: Duration) -> anyhow::Result<f64> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args([ROLE, &time.as_secs_f64().to_string()]);
    let mut child = cores::on_server_core(&command)?.stdout(Stdio::piped()).spawn()?;
    let mut said = String::new();
    child.stdout.take().context("it has an output")?.read_to_string(&mut said)?;
    child.wait()?;
    said.trim().parse().with_context(|| format!("the hashing process said {said:?}"))
}

/// Hashes for so many seconds and says how many a second.
pub fn run(arguments: &[String]) -> anyhow::Result<()> {
    let [seconds] = arguments else { bail!("`{ROLE}` needs a number of seconds") };
    let time = Duration::from_secs_f64(seconds.parse()?);
    let params = Params::new(19_456, 2, 1, None).ok().context("the cost is within Argon2's bounds")?;
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let (began, mut hashes, mut out) = (Instant::now(), 0_u32, [0; 32]);
    while began.elapsed() < time {
        argon2.hash_password_into(b"admin", &[7; 16], &mut out).ok().context("it can hash")?;
        hashes += 1;
    }
    println!("{}", f64::from(hashes) / began.elapsed().as_secs_f64());
    Ok(())
}
