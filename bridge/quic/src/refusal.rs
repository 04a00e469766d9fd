//! Why a connection was refused, in words for who looks after it: what is wrong, and what to do.

use crate::describe::utc;
use crate::identity::ALPN;
use crate::name::NODE_NAME_SUFFIX;
use rustls::pki_types::{ServerName, UnixTime};
use rustls::{AlertDescription, CertificateError, Error};

/// So much of a reason is shown.
const REASON_LETTERS_MAX: usize = 200;

/// What a handshake failed of, as this end saw it.
#[must_use]
pub fn explain(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(error) => format!("the certificate is refused: {}", certificate(error)),
        Error::NoCertificatesPresented => {
            "the peer shows no certificate: it needs one of an authority that is believed here".to_owned()
        }
        Error::NoApplicationProtocol => format!(
            "the peer doesn't speak {}: it is another program than memlane's bridge, or another version",
            ALPN.escape_ascii()
        ),
        Error::AlertReceived(alert) => explain_alert((*alert).into(), RefusedBy::Peer, ""),
        Error::PeerIncompatible(_) => format!("the peer has no TLS 1.3 such as is spoken here: {error}"),
        Error::InvalidCertRevocationList(_) => format!("the list of revoked certificates can't be used: {error}"),
        other => other.to_string(),
    }
}

/// Which end refused a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusedBy {
    /// This one.
    Us,
    /// The other one.
    Peer,
}

/// What a connection failed of, where nothing is left of it but the number of TLS's alert (in QUIC the error's code less 0x100) and the reason beside it, which may be empty and is the peer's own text if the peer refused.
#[must_use]
pub fn explain_alert(alert: u8, by: RefusedBy, reason: &str) -> String {
    let (whose, believes, speaks) = match by {
        RefusedBy::Us => ("the peer's certificate", "this end believes", "the peer doesn't speak"),
        RefusedBy::Peer => {
            ("the peer refuses: this end's certificate", "it believes", "the peer refuses: it doesn't speak")
        }
    };
    let mut text = match AlertDescription::from(alert) {
        AlertDescription::CertificateRequired => format!("{whose} isn't shown, and has to be"),
        AlertDescription::UnknownCA => {
            format!(
                "{whose} wasn't signed by an authority that {believes}: have its authority added to those believed there"
            )
        }
        AlertDescription::CertificateExpired => {
            format!("{whose} has expired, or isn't valid yet: renew it, or set the clock")
        }
        AlertDescription::CertificateRevoked => format!("{whose} was revoked"),
        AlertDescription::BadCertificate => format!("{whose} is another node's than was meant, or can't be read"),
        AlertDescription::CertificateUnknown => format!("{whose} names no node, or more than one"),
        AlertDescription::UnsupportedCertificate => {
            format!("{whose} isn't for both sides (extendedKeyUsage: serverAuth, clientAuth)")
        }
        AlertDescription::NoApplicationProtocol => {
            format!("{speaks} {}: it is another program than memlane's bridge, or another version", ALPN.escape_ascii())
        }
        AlertDescription::ProtocolVersion | AlertDescription::HandshakeFailure => {
            format!("{speaks} TLS 1.3 as memlane's bridge does")
        }
        other => format!("TLS failed with alert {alert} ({other:?})"),
    };
    if !reason.is_empty() {
        let reason: String = reason.chars().take(REASON_LETTERS_MAX).flat_map(char::escape_debug).collect();
        text.push_str(&format!(" ({reason})"));
    }
    text
}

fn certificate(error: &CertificateError) -> String {
    match error {
        CertificateError::UnknownIssuer => {
            "no authority that is believed here signed it; if it is to be believed, add its authority's certificate to the file of authorities".to_owned()
        }
        CertificateError::ExpiredContext { not_after, .. } => format!("it expired on {}: have it renewed", date(*not_after)),
        CertificateError::NotValidYetContext { not_before, .. } => {
            format!("it is valid from {} on only: are both clocks right?", date(*not_before))
        }
        CertificateError::Revoked => "it was revoked".to_owned(),
        CertificateError::NotValidForNameContext { expected, presented } => other_node(expected, presented),
        CertificateError::InvalidPurposeContext { .. } => {
            format!("it isn't for both sides (extendedKeyUsage: serverAuth, clientAuth): {error}")
        }
        CertificateError::Other(error) => error.to_string(),
        other => other.to_string(),
    }
}

fn other_node(expected: &ServerName<'_>, presented: &[String]) -> String {
    let node = |name: &str| name.strip_suffix(NODE_NAME_SUFFIX).unwrap_or(name).escape_debug().to_string();
    // Presented names come as they would be written in code.
    let presented =
        presented.iter().map(|name| name.strip_prefix("DnsName(\"").map_or(&**name, |it| it.trim_end_matches("\")")));
    let nodes: Vec<_> = presented.map(node).collect();
    format!(
        "it is that of {}, and {} was meant: another node answers at this address",
        nodes.join(", "),
        node(&expected.to_str())
    )
}

fn date(time: UnixTime) -> String {
    utc(i64::try_from(time.as_secs()).unwrap_or(i64::MAX))
}
