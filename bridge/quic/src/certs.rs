//! Makes an authority of one's own, and certificates for nodes that it signs, in PEM files:
//!
//! ```text
//!  authority's directory                        node's directory
//!    authority.pem    its certificate   ──▶       authority.pem    a copy: whom the node believes
//!    authority.key    its key, secret             paris.pem        the node's certificate
//!    issued/          a copy of each              paris.key        its key, secret
//!    revoked.pem      those it took back (revoke.rs)
//! ```
//!
//! Keys are ECDSA on P-256: every other program, and what keeps keys in hardware, knows them. Invariant: a file that is there is replaced only where a renewal was asked for.

use crate::authority::{Authority, AuthorityError, AuthorityFiles, Validity, key_pair, new_key, self_signed};
use crate::crypto::random_serial;
use crate::describe::{Description, describe_der, hex};
use crate::files::{Clash, Secrecy, make_directory, write};
use crate::name::{NODE_NAME_SUFFIX, NodeNameError, check_node_name};
use crate::pem::{PemError, malformed, read_certificates, read_key};
use rcgen::KeyPair;
use rustls::pki_types::{CertificateDer, ServerName};
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use x509_parser::prelude::{FromDer, X509Certificate};

/// For how many days an authority is valid unless told otherwise: ten years.
pub const AUTHORITY_DAYS: u32 = 3650;
/// For how many days a node's certificate is: a year and a month to renew it.
pub const NODE_DAYS: u32 = 397;
/// The most days: a hundred years.
pub const DAYS_MAX: u32 = 36_500;

/// Names of files of an authority that no node's may have.
const RESERVED: [&str; 2] = ["authority", "revoked"];

/// What becomes of a certificate and key that are there already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Existing {
    /// They stay, and it is an error that they are there.
    #[default]
    Refuse,
    /// The certificate is renewed for the key.
    KeepKey,
    /// Both are renewed.
    NewKey,
}

/// Where a node may be found, beside its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// A DNS name.
    Dns(String),
    /// An IP address.
    Ip(IpAddr),
}

/// Why a text is no host.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{host:?} can't be a host: {reason}; give a DNS name such as `bridge.example.com`, or an IP address")]
pub struct HostError {
    /// The text, cut if it is long.
    pub host: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl FromStr for Host {
    type Err = HostError;

    fn from_str(text: &str) -> Result<Self, HostError> {
        let refuse = |reason| HostError { host: text.chars().take(64).collect(), reason };
        if text.to_ascii_lowercase().ends_with(NODE_NAME_SUFFIX) {
            return Err(refuse("what ends in `.memlane` is a node's name"));
        }
        match ServerName::try_from(text) {
            Ok(ServerName::DnsName(_)) => Ok(Self::Dns(text.to_owned())),
            Ok(ServerName::IpAddress(address)) => Ok(Self::Ip(address.into())),
            _ => Err(refuse("it is neither a DNS name nor an IP address")),
        }
    }
}

/// What a node's certificate is to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeRequest {
    /// The node's name.
    pub node: String,
    /// Where it may be found. A renewal without any takes those of the certificate that it renews.
    pub hosts: Vec<Host>,
    /// For how many days it is valid, at most until its authority's end.
    pub days: u32,
    /// What becomes of one that is there.
    pub existing: Existing,
}

/// What was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// The file with the certificate.
    pub certificate: PathBuf,
    /// The file with its key.
    pub key: PathBuf,
    /// The file with the authority's certificate.
    pub authority: PathBuf,
    /// What the certificate says.
    pub description: Description,
    /// Whether it ends before the days asked for are over, since its authority does.
    pub is_cut_short: bool,
}

/// Why a certificate wasn't made. Files that were there are as they were, unless a renewal was cut short by [`MakeError::Write`]: repeat it then.
#[derive(Debug, thiserror::Error)]
pub enum MakeError {
    /// Give another name.
    #[error(transparent)]
    Name(#[from] NodeNameError),
    /// Give another name.
    #[error("a node can't be called {0}: its files would be taken for the authority's")]
    Reserved(String),
    /// Give so many days that it is valid, and ends in our days.
    #[error("{0} days can't be: give 1 to {DAYS_MAX}")]
    Days(u32),
    /// See there.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// A file that is to be renewed can't be used: see there.
    #[error(transparent)]
    File(#[from] PemError),
    /// Renew it, or give another directory.
    #[error("{path}: it is there already, and stays: give another directory, or --renew")]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// Make one first.
    #[error("{path}: there is nothing to renew: make one first, without --renew")]
    NothingToRenew {
        /// The file.
        path: PathBuf,
    },
    /// Renew it with what made it.
    #[error("{path}: this authority wasn't made by memlane: renew it with what made it")]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// Nodes of both would have to believe both: add the one to the other's file, or give another directory.
    #[error(
        "{path}: another authority is in it: add {authority} to it if both are to be believed, or give another directory"
    )]
    OtherAuthority {
        /// The node's file.
        path: PathBuf,
        /// The authority's.
        authority: PathBuf,
    },
    /// The system refuses to write: see the source.
    #[error("{path}: can't write it: {source}")]
    Write {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The cryptography refused; a host or a key that it doesn't take.
    #[error("can't make a certificate: {0}")]
    Cryptography(String),
}

/// Makes an authority in `directory`, which is made if it is missing, for its owner alone.
///
/// Errors: [`MakeError`].
pub fn make_authority(directory: &Path, days: u32) -> Result<Made, MakeError> {
    // Lists of revoked certificates are found by their authority's name: no two have the same.
    let name = format!("memlane authority {}", hex(&random_serial()[1..5]).replace(':', ""));
    put_authority(directory, days, Existing::Refuse, |_| Ok((new_key()?, name)))
}

/// Renews the authority in `directory`, with its name and its key: what it signed stays good. For a new key make a new authority.
///
/// Errors: [`MakeError`].
pub fn renew_authority(directory: &Path, days: u32) -> Result<Made, MakeError> {
    put_authority(directory, days, Existing::KeepKey, |files| Ok((old_key(&files.key)?, old_name(&files.certificate)?)))
}

fn put_authority(
    directory: &Path,
    days: u32,
    existing: Existing,
    key_and_name: impl FnOnce(&AuthorityFiles) -> Result<(KeyPair, String), MakeError>,
) -> Result<Made, MakeError> {
    let (validity, _) = Validity::from_now(days, None)?;
    let files = AuthorityFiles::of(directory);
    check_existing(&[&files.certificate, &files.key], existing)?;
    let (key, name) = key_and_name(&files)?;
    let certificate = self_signed(&name, &key, validity)?;
    make_directory(directory).map_err(|source| MakeError::Write { path: directory.to_owned(), source })?;
    put(&files.key, &files.certificate, &key, certificate.pem(), existing)?;
    Ok(Made {
        description: description(certificate.der(), &files.certificate)?,
        authority: files.certificate.clone(),
        certificate: files.certificate,
        key: files.key,
        is_cut_short: false,
    })
}

/// Makes a certificate and a key for a node, signed by the authority in the directory `authority`, in the directory `to`, which is made if it is missing; puts the authority's certificate beside them, and a copy of the node's into
/// the authority's directory, so that it can be revoked without the node.
///
/// A renewal changes the files one after the other. Errors: [`MakeError`].
pub fn make_node(request: &NodeRequest, authority: &Path, to: &Path) -> Result<Made, MakeError> {
    let NodeRequest { node, hosts, days, existing } = request;
    check_node_name(node)?;
    if RESERVED.contains(&node.as_str()) {
        return Err(MakeError::Reserved(node.clone()));
    }
    Validity::from_now(*days, None)?;
    let signer = Authority::open(authority)?;
    let (validity, is_cut_short) = Validity::from_now(*days, Some(signer.valid_until))?;
    let (certificate_path, key_path) = (to.join(format!("{node}.pem")), to.join(format!("{node}.key")));
    check_existing(&[&certificate_path, &key_path], *existing)?;
    let trusted = to.join("authority.pem");
    let trusted_clash = signer.must_be_put(&trusted, *existing)?;
    let hosts = match existing {
        Existing::KeepKey | Existing::NewKey if hosts.is_empty() => old_hosts(&certificate_path)?,
        _ => hosts.clone(),
    };
    let key = if *existing == Existing::KeepKey { old_key(&key_path)? } else { new_key()? };
    let certificate = signer.sign(node, &hosts, &key, validity)?;
    let description = description(certificate.der(), &certificate_path)?;
    let issued = authority.join("issued");
    make_directory(&issued).map_err(|source| MakeError::Write { path: issued.clone(), source })?;
    make_directory(to).map_err(|source| MakeError::Write { path: to.to_owned(), source })?;
    let copy = issued.join(format!("{node}.{}.pem", description.serial.replace(':', "")));
    put_file(&copy, certificate.pem().as_bytes(), Secrecy::Public, Clash::Refuse)?;
    if let Some(clash) = trusted_clash {
        let text = std::fs::read(&signer.files.certificate);
        let text = text.map_err(|source| PemError::Read { path: signer.files.certificate.clone(), source })?;
        put_file(&trusted, &text, Secrecy::Public, clash)?;
    }
    put(&key_path, &certificate_path, &key, certificate.pem(), *existing)?;
    Ok(Made { certificate: certificate_path, key: key_path, authority: trusted, description, is_cut_short })
}

fn old_key(path: &Path) -> Result<KeyPair, MakeError> {
    Ok(key_pair(&read_key(path)?).map_err(|error| malformed(path, &error))?)
}

/// The name of an authority that is to be renewed: it keeps it, or what it signed would be nobody's.
fn old_name(path: &Path) -> Result<String, MakeError> {
    let certificate = read_certificates(path)?.swap_remove(0);
    let (_, parsed) = X509Certificate::from_der(&certificate).map_err(|error| malformed(path, &error))?;
    let subject = parsed.subject();
    let name = subject.iter_common_name().next().and_then(|name| name.as_str().ok());
    let is_ours =
        subject.iter_attributes().count() == 1 && parsed.is_ca() && subject.as_raw() == parsed.issuer().as_raw();
    let name = name.filter(|_| is_ours).ok_or_else(|| MakeError::Foreign { path: path.to_owned() })?;
    Ok(name.to_owned())
}

fn old_hosts(path: &Path) -> Result<Vec<Host>, MakeError> {
    let certificate = read_certificates(path)?.swap_remove(0);
    let said = description(&certificate, path)?;
    // What can't be put into a certificate again didn't come from here.
    Ok(said.hosts.iter().filter_map(|host| host.parse().ok()).collect())
}

fn description(der: &CertificateDer<'_>, path: &Path) -> Result<Description, MakeError> {
    Ok(describe_der(der).map_err(|error| malformed(path, &error))?)
}

fn check_existing(paths: &[&Path], existing: Existing) -> Result<(), MakeError> {
    let must_be_there = existing != Existing::Refuse;
    match paths.iter().find(|path| path.symlink_metadata().is_ok() != must_be_there) {
        Some(path) if must_be_there => Err(MakeError::NothingToRenew { path: path.to_path_buf() }),
        Some(path) => Err(MakeError::Exists { path: path.to_path_buf() }),
        None => Ok(()),
    }
}

/// Puts a key and its certificate where they belong. Between the two of a renewal with a new key they don't fit: whoever reloads then keeps what it had.
fn put(key_path: &Path, path: &Path, key: &KeyPair, certificate: String, existing: Existing) -> Result<(), MakeError> {
    let clash = if existing == Existing::Refuse { Clash::Refuse } else { Clash::Replace };
    if existing != Existing::KeepKey {
        put_file(key_path, key.serialize_pem().as_bytes(), Secrecy::Secret, clash)?;
    }
    put_file(path, certificate.as_bytes(), Secrecy::Public, clash)
}

fn put_file(path: &Path, bytes: &[u8], secrecy: Secrecy, clash: Clash) -> Result<(), MakeError> {
    write(path, bytes, secrecy, clash).map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => MakeError::Exists { path: path.to_owned() },
        _ => MakeError::Write { path: path.to_owned(), source },
    })
}

#[cfg(test)]
#[path = "certs_tests.rs"]
mod tests;
