//! The command line's own description: shell completions and man pages. `just dist` packs both.

use std::path::PathBuf;

use clap::{Args, Command};
use clap_complete::Shell;

use crate::output::outln;

/// `comptoir completions`
#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell that will read them.
    shell: Shell,
}

/// `comptoir man`
#[derive(Debug, Args)]
pub(crate) struct Man {
    /// Write the pages to this folder, which must exist.
    folder: PathBuf,
}

impl Completions {
    /// Prints the script that completes the command line in a shell.
    pub(crate) fn run(&self, mut command_line: Command) -> anyhow::Result<()> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command_line, "comptoir", &mut script);
        outln!("{}", String::from_utf8(script)?.trim_end());
        Ok(())
    }
}

impl Man {
    /// Writes `comptoir.1`, and a page for each subcommand.
    pub(crate) fn run(&self, command_line: Command) -> anyhow::Result<()> {
        // The long version text names every library, which is no manual.
        let command_line = command_line.version(env!("CARGO_PKG_VERSION"));
        Ok(clap_mangen::generate_to(command_line, &self.folder)?)
    }
}
