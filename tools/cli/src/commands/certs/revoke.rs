//! `memlane certs revoke`: certificates that aren't to be believed any more.

use std::path::PathBuf;

use clap::Args;
use memlane_bridge_quic::{Revoked, revoke};
use serde::Serialize;

use super::super::ending::Ending;
use super::super::output::{Output, print_json};

const AFTER_HELP: &str = "\
The authority's list, revoked.pem in its directory, grows by them. Bring it to every node, as the file that its setting `revoked` names, and \
reload: until then nothing has changed. Copies of all certificates that the authority signed lie in its directory issued.

Examples:
  memlane certs revoke ca/issued/paris.* --authority ca    all that paris ever had
  memlane certs revoke paris/paris.pem --authority ca             the one";

/// Take certificates back: put them on the authority's list of those that aren't valid any more
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Revoke {
    /// The certificates
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The directory of the authority that signed them
    #[arg(long, value_name = "DIRECTORY")]
    authority: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Told {
    list_file: PathBuf,
    revoked: Vec<Entry>,
    /// How many are on the list.
    total: usize,
}

#[derive(Debug, Serialize)]
struct Entry {
    subject: String,
    serial: String,
}

impl Revoke {
    pub(super) fn run(&self) -> anyhow::Result<Ending> {
        let Revoked { list, added, total } = revoke(&self.authority, &self.files)?;
        if self.json {
            let revoked = added.into_iter().map(|(subject, serial)| Entry { subject, serial }).collect();
            print_json(&Told { list_file: list, revoked, total })?;
            return Ok(Ending::Done);
        }
        let mut output = Output::stdout()?;
        for (subject, serial) in &added {
            output.line(&format!("revoked: {subject}, serial {serial}"))?;
        }
        let list = list.display();
        output.line(&format!("{list}: {total} in all; bring it to every node, and reload"))?;
        output.flush()?;
        Ok(Ending::Done)
    }
}
