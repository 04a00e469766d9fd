//! What a certificate says.

use crate::crypto::sha256;
use crate::name::{NODE_NAME_SUFFIX, peer_name};
use crate::pem::{PemError, malformed, read_certificates};
use rustls::pki_types::CertificateDer;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use time::OffsetDateTime;
use x509_parser::error::X509Error;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate, X509Name};

/// What a certificate says about itself. None of it was checked: that is what [`Identity`](crate::Identity) does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// Whom it names: the common name, or all of the subject if there is none.
    pub subject: String,
    /// The node that it names, if it is a node's.
    pub node: Option<String>,
    /// Its other DNS names, and its IP addresses.
    pub hosts: Vec<String>,
    /// Whether it is an authority's, which signs others.
    pub is_authority: bool,
    /// From when on it is valid, in seconds since 1970.
    pub valid_from_unix_s: i64,
    /// Until when, in seconds since 1970.
    pub valid_until_unix_s: i64,
    /// The number that its authority gave it, in hexadecimal digits with colons.
    pub serial: String,
    /// The SHA-256 of all of it, in hexadecimal digits with colons.
    pub fingerprint: String,
    /// Who signed it, by its own account.
    pub signed_by: String,
    /// Whether that is itself.
    pub is_self_signed: bool,
}

/// What each certificate of a PEM file says, in their order.
///
/// Errors: [`PemError`], if the file can't be read or has none.
pub fn describe(path: &Path) -> Result<Vec<Description>, PemError> {
    let certificates = read_certificates(path)?;
    certificates.iter().map(|der| describe_der(der).map_err(|error| malformed(path, &error))).collect()
}

/// What a certificate says.
pub(crate) fn describe_der(der: &CertificateDer<'_>) -> Result<Description, X509Error> {
    let (_, parsed) = X509Certificate::from_der(der).map_err(|error| match error {
        x509_parser::nom::Err::Error(error) | x509_parser::nom::Err::Failure(error) => error,
        x509_parser::nom::Err::Incomplete(_) => X509Error::InvalidCertificate,
    })?;
    let names = parsed.subject_alternative_name()?.map_or(&[][..], |extension| &extension.value.general_names);
    let validity = parsed.validity();
    Ok(Description {
        subject: text_of(parsed.subject()),
        node: peer_name(der).ok(),
        hosts: names.iter().filter_map(host).collect(),
        is_authority: parsed.is_ca(),
        valid_from_unix_s: validity.not_before.timestamp(),
        valid_until_unix_s: validity.not_after.timestamp(),
        serial: hex(parsed.raw_serial()),
        fingerprint: hex(&sha256(der)),
        signed_by: text_of(parsed.issuer()),
        is_self_signed: parsed.subject().as_raw() == parsed.issuer().as_raw(),
    })
}

/// An instant, in seconds since 1970: `2026-11-25T14:56:52Z`. What no calendar has is given as the number.
#[must_use]
pub fn utc(unix_s: i64) -> String {
    let Ok(at) = OffsetDateTime::from_unix_timestamp(unix_s) else { return format!("{unix_s} s since 1970") };
    let (hour, minute, second) = at.to_hms();
    format!("{:04}-{:02}-{:02}T{hour:02}:{minute:02}:{second:02}Z", at.year(), u8::from(at.month()), at.day())
}

/// Now, in seconds since 1970.
pub(crate) fn now_unix_s() -> i64 {
    OffsetDateTime::now_utc().unix_timestamp()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":")
}

/// The common name, or all of it, in letters that do nothing to a terminal.
fn text_of(name: &X509Name<'_>) -> String {
    let common = name.iter_common_name().find_map(|common| common.as_str().ok());
    let text = common.map_or_else(|| name.to_string(), str::to_owned);
    text.chars().map(|letter| if letter.is_control() { char::REPLACEMENT_CHARACTER } else { letter }).collect()
}

/// A name or an address; `None` for the node's own name, and for what isn't a host.
fn host(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) if name.ends_with(NODE_NAME_SUFFIX) => None,
        GeneralName::DNSName(name) => Some(name.escape_debug().to_string()),
        GeneralName::IPAddress(bytes) => address(bytes).map(|address| address.to_string()),
        _ => None,
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(|bytes| Ipv4Addr::from(bytes).into()),
        16 => <[u8; 16]>::try_from(bytes).ok().map(|bytes| Ipv6Addr::from(bytes).into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::utc;

    #[test]
    fn instants_are_dates_and_those_of_no_calendar_are_numbers() {
        let instants = [0, 1_795_618_612, 253_402_300_799, -1, i64::MAX].map(utc);
        assert_eq!(instants[..2], ["1970-01-01T00:00:00Z", "2026-11-25T14:56:52Z"]);
        assert_eq!(instants[2..4], ["9999-12-31T23:59:59Z", "1969-12-31T23:59:59Z"]);
        assert_eq!(instants[4], "9223372036854775807 s since 1970");
    }
}
