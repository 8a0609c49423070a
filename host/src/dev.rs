//! `comptoir dev`: builds the components of a manifest, serves them, and builds and deploys again whenever a source changes.

mod build;
mod plan;
mod session;
mod sources;
mod terminal;
mod watcher;

use std::pin::pin;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use comptoir::host::recreate_database;
use comptoir::telemetry::Log;

use crate::serve::{HostOptions, Prepared};
use crate::system::{Asked, Signals};

use session::Session;

/// `comptoir dev`
#[derive(Debug, Args)]
pub(crate) struct Dev {
    #[command(flatten)]
    host: HostOptions,
    /// Begin with an empty database for this service. The old one is moved aside, to NAME.db.old-TIME in the data folder. Needed if you
    /// changed a migration that has run.
    #[arg(long, value_name = "SERVICE")]
    recreate: Vec<String>,
}

impl Dev {
    /// Builds and serves until a signal.
    pub(crate) fn run(&self) -> ExitCode {
        self.host.run(async |prepared, log| {
            let mut signals = Signals::new()?;
            self.recreate(&prepared, log)?;
            let mut session = Session::new(prepared, log);
            let wake = session.wake().clone();
            {
                let mut work = pin!(session.run());
                loop {
                    tokio::select! {
                        () = &mut work => break,
                        asked = signals.next() => match asked {
                            Asked::Stop => break,
                            Asked::Reload => wake.reload(),
                        }
                    }
                }
            }
            session.end().await;
            Ok(())
        })
    }

    fn recreate(&self, prepared: &Prepared, log: &Log) -> anyhow::Result<()> {
        for name in &self.recreate {
            let manifest = prepared.source.read()?;
            let old = recreate_database(&manifest, &prepared.data, name).context("--recreate")?;
            log.say(&format!("{name}: moved its database to {}", old.display()));
        }
        Ok(())
    }
}
