//! `memlane certs node`: a certificate and a key for a node.

use std::path::PathBuf;

use clap::Args;
use memlane_bridge_quic::{Existing, Host, NODE_DAYS, NodeRequest, make_node};

use super::super::ending::{Ending, complain};

const AFTER_HELP: &str = "\
The directory --to gets NAME.pem, the certificate, NAME.key, its key, and authority.pem, the authority that the node then believes. Bring \
all three to the node, for the user that it runs as. Peers check the name, not the address, so a node that moves keeps its certificate; \
--host is for other programs, which look at addresses.

With --renew the certificate there is made anew, with the hosts that it has unless others are given; a node that runs takes it at its next reload.

Examples:
  memlane certs node paris --authority ca --to paris
  memlane certs node paris --authority ca --to paris --host bridge.example.com --host 10.0.0.7
  memlane certs node paris --authority ca --to paris --renew --new-key";

/// Make a certificate and a key for a node
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Node {
    /// The node: 1 to 40 of A-Z a-z 0-9 _ -
    #[arg(value_name = "NAME")]
    node: String,
    /// The directory of the authority that signs it
    #[arg(long, value_name = "DIRECTORY")]
    authority: PathBuf,
    /// Where to; it is made if it is missing, for its owner alone
    #[arg(long, value_name = "DIRECTORY")]
    to: PathBuf,
    /// A DNS name or an IP address that it is to be valid for too; may be given more than once
    #[arg(long, value_name = "DNS-OR-IP")]
    host: Vec<Host>,
    /// For how many days it is valid, at most as long as the authority
    #[arg(long, value_name = "N", default_value_t = NODE_DAYS)]
    days: u32,
    /// Renew what is there: a new certificate for the same key
    #[arg(long)]
    renew: bool,
    /// Renew the key too
    #[arg(long, requires = "renew")]
    new_key: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Node {
    pub(super) fn run(&self) -> anyhow::Result<Ending> {
        let existing = match (self.renew, self.new_key) {
            (false, _) => Existing::Refuse,
            (true, false) => Existing::KeepKey,
            (true, true) => Existing::NewKey,
        };
        let request = NodeRequest { node: self.node.clone(), hosts: self.host.clone(), days: self.days, existing };
        let made = make_node(&request, &self.authority, &self.to)?;
        super::tell(&made, self.json)?;
        if made.is_cut_short {
            complain(
                "the certificate ends sooner than asked for, with its authority: renew that with `memlane certs authority --renew`",
            );
        }
        Ok(Ending::Done)
    }
}
