//! `memlane certs`: certificates for the nodes of a bridge, made, renewed, taken back and looked at.

mod authority;
mod node;
mod revoke;
mod show;

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::{Args, Subcommand};
use memlane_bridge_quic::{Description, Made, utc};
use serde::Serialize;

use super::ending::Ending;
use super::output::{Output, print_json};
use super::table::{Lean, Table};

const AFTER_HELP: &str = "\
Nodes of a bridge know each other by certificates: each has one with its name, signed by an authority that the others believe. An authority \
of one's own is a directory; its key signs, and belongs on no node.

Files are PEM, and what other programs make does as well: see docs/certificates.md.

Examples:
  memlane certs authority ca                              once, where no node runs
  memlane certs node paris --authority ca --to paris      for each node; bring it there
  memlane certs node paris --authority ca --to paris --renew
  memlane certs show paris/paris.pem
  memlane certs revoke ca/issued/paris.* --authority ca   a node was stolen";

/// Make and look after the certificates by which the nodes of a bridge know each other
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP, arg_required_else_help = true)]
pub(super) struct Certs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Authority(authority::Authority),
    Node(node::Node),
    Show(show::Show),
    Revoke(revoke::Revoke),
}

impl Certs {
    pub(super) fn run(&self) -> anyhow::Result<Ending> {
        match &self.action {
            Action::Authority(authority) => authority.run(),
            Action::Node(node) => node.run(),
            Action::Show(show) => show.run(),
            Action::Revoke(revoke) => revoke.run(),
        }
    }
}

/// What a certificate says.
#[derive(Debug, Serialize)]
struct Said<'a> {
    subject: &'a str,
    /// `None` if it is no node's.
    node: Option<&'a str>,
    hosts: &'a [String],
    authority: bool,
    valid_from_unix_s: i64,
    valid_until_unix_s: i64,
    serial: &'a str,
    sha256: &'a str,
    signed_by: &'a str,
    self_signed: bool,
}

impl<'a> From<&'a Description> for Said<'a> {
    fn from(description: &'a Description) -> Self {
        Self {
            subject: &description.subject,
            node: description.node.as_deref(),
            hosts: &description.hosts,
            authority: description.is_authority,
            valid_from_unix_s: description.valid_from_unix_s,
            valid_until_unix_s: description.valid_until_unix_s,
            serial: &description.serial,
            sha256: &description.fingerprint,
            signed_by: &description.signed_by,
            self_signed: description.is_self_signed,
        }
    }
}

impl Said<'_> {
    fn facts(&self) -> Vec<(&'static str, String)> {
        let what = match self.node {
            Some(node) => ("node", node.to_owned()),
            None if self.authority => ("authority", self.subject.to_owned()),
            None => ("subject", format!("{}, no node's", self.subject)),
        };
        let hosts = if self.hosts.is_empty() { "none beside its name".to_owned() } else { self.hosts.join(", ") };
        let valid = format!("{} to {}, {}", utc(self.valid_from_unix_s), utc(self.valid_until_unix_s), self.left());
        let signed = if self.self_signed { "itself".to_owned() } else { self.signed_by.to_owned() };
        let mut facts = vec![what, ("valid", valid), ("signed by", signed)];
        if !self.authority {
            facts.insert(1, ("hosts", hosts));
        }
        facts.extend([("serial", self.serial.to_owned()), ("sha-256", self.sha256.to_owned())]);
        facts
    }

    /// How long it is still valid.
    fn left(&self) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let now = i64::try_from(now).unwrap_or(i64::MAX);
        match self.valid_until_unix_s.saturating_sub(now) {
            left if left <= 0 => "expired".to_owned(),
            _ if self.valid_from_unix_s > now => "not yet valid".to_owned(),
            left => match left / 86_400 {
                0 => "less than a day left".to_owned(),
                1 => "1 day left".to_owned(),
                days => format!("{days} days left"),
            },
        }
    }
}

/// Prints facts as a table.
fn print(output: &mut Output, facts: Vec<(&'static str, String)>) -> anyhow::Result<()> {
    let mut facts = facts.into_iter();
    let Some((name, value)) = facts.next() else { return Ok(()) };
    let mut table = Table::new(&[(name, Lean::Left), (&value, Lean::Left)]);
    facts.for_each(|(name, value)| table.row([name.to_owned(), value]));
    table.lines().iter().try_for_each(|line| output.line(line))
}

/// What was made, with the files.
#[derive(Debug, Serialize)]
struct Told<'a> {
    certificate_file: &'a Path,
    key_file: &'a Path,
    authority_file: &'a Path,
    #[serde(flatten)]
    said: Said<'a>,
}

/// Tells what was made.
fn tell(made: &Made, json: bool) -> anyhow::Result<()> {
    let Made { certificate, key, authority, description, .. } = made;
    let said = Said::from(description);
    if json {
        return print_json(&Told { certificate_file: certificate, key_file: key, authority_file: authority, said });
    }
    let mut facts = said.facts();
    facts.push(("certificate", certificate.display().to_string()));
    facts.push(("key", format!("{} (secret)", key.display())));
    if authority != certificate {
        facts.push(("believes", authority.display().to_string()));
    }
    let mut output = Output::stdout()?;
    print(&mut output, facts)?;
    output.flush()
}
