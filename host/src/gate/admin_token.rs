//! The operator's token.

use std::fmt::{self, Debug, Formatter};
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context as _, bail};
use base64::Engine as _;
use storage::permissions;
use subtle::ConstantTimeEq as _;

/// What shows that a request is the operator's. Cannot be printed.
pub struct AdminToken(String);

impl AdminToken {
    /// The token in a file, made at the first start: 256 random bits, readable by its owner alone (mode 0600).
    ///
    /// # Errors
    /// A file that others may read, and whatever keeps the file from being read or written.
    pub fn open(file: &Path) -> anyhow::Result<Self> {
        match fs::metadata(file) {
            Ok(metadata) => read(file, &metadata).map(Self),
            Err(_) => make(file).map(Self),
        }
    }

    /// Whether this is the token. Takes as long for a wrong one, wherever it differs.
    pub fn matches(&self, shown: &[u8]) -> bool {
        shown.ct_eq(self.0.as_bytes()).into()
    }
}

impl Debug for AdminToken {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str("AdminToken")
    }
}

fn read(file: &Path, metadata: &Metadata) -> anyhow::Result<String> {
    let shown = file.display();
    if let Some(mode) = permissions::exposed(metadata) {
        bail!("{shown} has mode {mode:03o}: the admin token must be its owner's alone, set it to 600");
    }
    let token = fs::read_to_string(file).with_context(|| format!("cannot read {shown}"))?.trim().to_owned();
    if token.len() < 32 {
        bail!("{shown} holds no token: delete it, and the next start makes a new one");
    }
    Ok(token)
}

fn make(file: &Path) -> anyhow::Result<String> {
    let shown = file.display();
    let mut secret = [0_u8; 32];
    getrandom::fill(&mut secret).map_err(|error| anyhow::anyhow!("no randomness for the admin token: {error}"))?;
    let token = base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(secret);
    write(file, &token).with_context(|| format!("cannot write {shown}"))?;
    Ok(token)
}

/// Writes a file that is there with its whole content or not at all, also after a power cut.
fn write(file: &Path, token: &str) -> io::Result<()> {
    let partial = file.with_extension("token.new");
    let mut made = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&partial)?;
    made.write_all(format!("{token}\n").as_bytes())?;
    made.sync_all()?;
    fs::rename(&partial, file)?;
    File::open(file.parent().unwrap_or(Path::new(".")))?.sync_all()
}
