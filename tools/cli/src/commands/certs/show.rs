//! `memlane certs show`: what certificates say.

use std::path::PathBuf;

use clap::Args;
use memlane_bridge_quic::describe;
use serde::Serialize;

use super::super::ending::Ending;
use super::super::output::{Output, print_json};
use super::Said;

const AFTER_HELP: &str = "\
It says what stands in the file, and checks nothing of it but the date.

Examples:
  memlane certs show paris/paris.pem
  memlane certs show ca/authority.pem --json";

/// Show what the certificates in a file say
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Show {
    /// A PEM file with a certificate, or with several
    file: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Listing<'a> {
    certificates: Vec<Said<'a>>,
}

impl Show {
    pub(super) fn run(&self) -> anyhow::Result<Ending> {
        let descriptions = describe(&self.file)?;
        let certificates: Vec<Said<'_>> = descriptions.iter().map(Said::from).collect();
        if self.json {
            print_json(&Listing { certificates })?;
            return Ok(Ending::Done);
        }
        let mut output = Output::stdout()?;
        for (index, said) in certificates.iter().enumerate() {
            if index > 0 {
                output.line("")?;
            }
            super::print(&mut output, said.facts())?;
        }
        output.flush()?;
        Ok(Ending::Done)
    }
}
