//! Names of nodes, as certificates carry them: the node `paris` is the DNS name `paris.memlane`, whatever address it has.
//!
//! Invariant: a certificate names one node, or is nobody's. Names differ by case, though DNS's don't.

use memlane_bridge_protocol::NODE_NAME_BYTES_MAX;
use rustls::pki_types::{CertificateDer, ServerName};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// What follows a node's name in the DNS name that stands for it.
pub const NODE_NAME_SUFFIX: &str = ".memlane";

/// Why a text is no node's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{name:?} can't be a node's name: {reason}; names are 1 to {NODE_NAME_BYTES_MAX} of A-Z a-z 0-9 _ -, with no - at an end"
)]
pub struct NodeNameError {
    /// The text, cut if it is long.
    pub name: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

/// Why a certificate is no node's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeerNameError {
    /// It isn't X.509, or its names can't be read: have it made again.
    #[error("the certificate can't be read: {0}")]
    Unreadable(String),
    /// Have it made with the name.
    #[error(
        "the certificate names no node: among its DNS names (subjectAltName) there is none such as `paris{NODE_NAME_SUFFIX}`"
    )]
    NoName,
    /// Have one made for each node.
    #[error("the certificate names two nodes, {0} and {1}: each needs one of its own")]
    TwoNames(String, String),
    /// Have it made with another name.
    #[error("the certificate's name ends in `{NODE_NAME_SUFFIX}`, but {0}")]
    NotAName(NodeNameError),
}

/// Whether `name` can be a node's: 1 to 40 of `A-Z a-z 0-9 _ -`, with no `-` at an end, which DNS names don't have.
///
/// Errors: [`NodeNameError`], with the reason.
pub fn check_node_name(name: &str) -> Result<(), NodeNameError> {
    let refuse = |reason| Err(NodeNameError { name: name.chars().take(64).collect(), reason });
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    match name {
        "" => refuse("it is empty"),
        name if name.len() > NODE_NAME_BYTES_MAX => refuse("it is too long"),
        name if !name.bytes().all(is_plain) => refuse("it has a character that names don't have"),
        name if name.starts_with('-') || name.ends_with('-') => refuse("it begins or ends with -"),
        _ => Ok(()),
    }
}

/// What a client that connects to the node `name` has its certificate checked against, whatever the address: `<name>.memlane`.
///
/// Errors: [`NodeNameError`], if there can be no such node.
pub fn server_name(name: &str) -> Result<ServerName<'static>, NodeNameError> {
    check_node_name(name)?;
    let refuse = |_| NodeNameError { name: name.to_owned(), reason: "it is no DNS name" };
    ServerName::try_from(format!("{name}{NODE_NAME_SUFFIX}")).map_err(refuse)
}

/// The name of the node whose certificate it is: of a connected peer, the first of its chain. It says nothing about who signed it: TLS has looked at that before.
///
/// Cost: parses the certificate. Errors: [`PeerNameError`].
pub fn peer_name(certificate: &CertificateDer<'_>) -> Result<String, PeerNameError> {
    let unreadable = |error: &dyn std::fmt::Display| PeerNameError::Unreadable(error.to_string());
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|error| unreadable(&error))?;
    let names = parsed.subject_alternative_name().map_err(|error| unreadable(&error))?;
    let names = names.map_or(&[][..], |extension| &extension.value.general_names);
    let mut found: Option<&str> = None;
    for name in names {
        let GeneralName::DNSName(name) = name else { continue };
        let Some(node) = name.strip_suffix(NODE_NAME_SUFFIX) else { continue };
        check_node_name(node).map_err(PeerNameError::NotAName)?;
        match found {
            Some(other) if other != node => return Err(PeerNameError::TwoNames(other.to_owned(), node.to_owned())),
            _ => found = Some(node),
        }
    }
    found.map(str::to_owned).ok_or(PeerNameError::NoName)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_none_are_refused_with_the_reason() {
        let long = "x".repeat(41);
        for name in ["", "a.b", "a b", "ä", "*", "-a", "a-", "-", "a/b", "a\0", &long] {
            let error = check_node_name(name).unwrap_err().to_string();
            assert!(error.contains("can't be a node's name") && error.len() < 300, "{error}");
            assert!(server_name(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn every_name_is_a_dns_name_behind_which_memlane_stands() {
        let long = "x".repeat(40);
        for name in ["a", "A-1_b", "_", "007", "0x1", "_a_", &long] {
            assert_eq!(server_name(name).unwrap().to_str(), format!("{name}.memlane"));
        }
    }

    #[test]
    fn bytes_that_are_no_certificate_name_nobody() {
        for bytes in [&b""[..], b"x", &[0x30, 0x82, 0xff, 0xff], &[0; 4096]] {
            let error = peer_name(&CertificateDer::from(bytes)).unwrap_err();
            assert!(matches!(error, PeerNameError::Unreadable(_)), "{error}");
        }
    }
}
