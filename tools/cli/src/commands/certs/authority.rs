//! `memlane certs authority`: what signs the certificates of nodes.

use std::path::PathBuf;

use clap::Args;
use memlane_bridge_quic::{AUTHORITY_DAYS, make_authority, renew_authority};

use super::super::ending::Ending;

const AFTER_HELP: &str = "\
DIRECTORY gets authority.pem, its certificate, and authority.key, its key. Whoever has the key can be any node: keep the directory off the \
nodes, with a backup. Copies of the certificates that it signs are kept there too, so that they can be revoked.

With --renew it keeps its name and key, and what it signed stays good. For a new key make a new authority, and have nodes believe both \
meanwhile: see docs/certificates.md.

Examples:
  memlane certs authority ca
  memlane certs authority ca --renew";

/// Make an authority, which signs the certificates of nodes
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Authority {
    /// Where to; it is made if it is missing, for its owner alone
    directory: PathBuf,
    /// For how many days it is valid
    #[arg(long, value_name = "N", default_value_t = AUTHORITY_DAYS)]
    days: u32,
    /// Renew the one that is there: more time for the same name and key
    #[arg(long)]
    renew: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Authority {
    pub(super) fn run(&self) -> anyhow::Result<Ending> {
        let make = if self.renew { renew_authority } else { make_authority };
        let made = make(&self.directory, self.days)?;
        super::tell(&made, self.json)?;
        Ok(Ending::Done)
    }
}
