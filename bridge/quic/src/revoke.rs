//! Takes certificates back: writes the authority's list of those that aren't valid any more, `revoked.pem`, for nodes to load.

use crate::authority::{Authority, AuthorityError};
use crate::describe::{describe_der, hex};
use crate::files::{Clash, Secrecy, write};
use crate::pem::{PemError, malformed, read_certificates, read_revocations};
use rcgen::{CertificateRevocationListParams, KeyIdMethod, RevokedCertParams, SerialNumber};
use std::io;
use std::path::{Path, PathBuf};
use time::OffsetDateTime;
use x509_parser::prelude::{CertificateRevocationList, FromDer, X509Certificate};

/// What was taken back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revoked {
    /// The list, to be given to every node.
    pub list: PathBuf,
    /// Whose certificates are new on it, with their serial numbers in hexadecimal digits.
    pub added: Vec<(String, String)>,
    /// How many are on it in all.
    pub total: usize,
}

/// Why nothing was taken back.
#[derive(Debug, thiserror::Error)]
pub enum RevokeError {
    /// See there.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// A certificate, or the list so far, can't be used: see there.
    #[error(transparent)]
    File(#[from] PemError),
    /// Only who signed a certificate can take it back: give that authority.
    #[error("{path}: it was signed by {signed_by}, not by this authority")]
    NotSignedHere {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        signed_by: String,
    },
    /// An authority is renewed, or taken out of the nodes' files.
    #[error("{path}: it is the authority itself: take it out of the nodes' files instead")]
    Itself {
        /// The file.
        path: PathBuf,
    },
    /// Lists are signed with a key that may do so (keyUsage cRLSign).
    #[error("the authority can't sign the list: {0}")]
    Cryptography(String),
    /// The system refuses to write: see the source.
    #[error("{path}: can't write it: {source}")]
    Write {
        /// The list.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Takes back the certificates in these files, whose authority is in this directory: each that isn't on the authority's list yet is added to it. Of a file with more than one certificate the first counts.
///
/// It counts for a node once the node has loaded the list. After a crash the list is the old one or the new one. Errors: [`RevokeError`]; the list is as it was.
pub fn revoke(authority: &Path, certificates: &[PathBuf]) -> Result<Revoked, RevokeError> {
    let signer = Authority::open(authority)?;
    let path = &signer.files.revoked;
    let (mut revoked, number) = if path.exists() { listed(path)? } else { (Vec::new(), 0) };
    let now = OffsetDateTime::now_utc();
    let mut added = Vec::new();
    for file in certificates {
        let (subject, serial) = serial_of(file, &signer)?;
        if revoked.iter().any(|listed| listed.serial_number.to_bytes() == serial) {
            continue;
        }
        added.push((subject, hex(&serial)));
        revoked.push(RevokedCertParams {
            serial_number: SerialNumber::from_slice(&serial),
            revocation_time: now,
            reason_code: None,
            invalidity_date: None,
        });
    }
    let total = revoked.len();
    // Nobody fetches the next list by itself, so this one counts as long as its authority.
    let until = OffsetDateTime::from_unix_timestamp(signer.valid_until).unwrap_or(now + time::Duration::DAY);
    let list = CertificateRevocationListParams {
        this_update: now,
        next_update: until,
        crl_number: SerialNumber::from_slice(&(number + 1).to_be_bytes()),
        issuing_distribution_point: None,
        revoked_certs: revoked,
        key_identifier_method: KeyIdMethod::Sha256,
    };
    let refused = |error: rcgen::Error| RevokeError::Cryptography(error.to_string());
    let text = list.signed_by(&signer.issuer).map_err(refused)?.pem().map_err(refused)?;
    let written = write(path, text.as_bytes(), Secrecy::Public, Clash::Replace);
    written.map_err(|source| RevokeError::Write { path: path.clone(), source })?;
    Ok(Revoked { list: path.clone(), added, total })
}

/// Whom the certificate in a file names, and its number.
fn serial_of(path: &Path, signer: &Authority) -> Result<(String, Vec<u8>), RevokeError> {
    let certificate = read_certificates(path)?.swap_remove(0);
    if certificate == signer.certificate {
        return Err(RevokeError::Itself { path: path.to_owned() });
    }
    let unreadable = |error: &dyn std::fmt::Display| malformed(path, error);
    let said = describe_der(&certificate).map_err(|error| unreadable(&error))?;
    let (_, parsed) = X509Certificate::from_der(&certificate).map_err(|error| unreadable(&error))?;
    let (_, own) = X509Certificate::from_der(&signer.certificate).map_err(|error| unreadable(&error))?;
    if parsed.issuer().as_raw() != own.subject().as_raw() {
        return Err(RevokeError::NotSignedHere { path: path.to_owned(), signed_by: said.signed_by });
    }
    Ok((said.node.unwrap_or(said.subject), parsed.raw_serial().to_vec()))
}

/// What is on a list, and the list's number.
fn listed(path: &Path) -> Result<(Vec<RevokedCertParams>, u64), RevokeError> {
    let list = read_revocations(path)?.swap_remove(0);
    let (_, parsed) = CertificateRevocationList::from_der(&list).map_err(|error| malformed(path, &error))?;
    let number = parsed.crl_number().and_then(|number| u64::try_from(number.clone()).ok()).unwrap_or(0);
    let revoked = parsed.iter_revoked_certificates().map(|revoked| RevokedCertParams {
        serial_number: SerialNumber::from_slice(revoked.raw_serial()),
        revocation_time: revoked.revocation_date.to_datetime(),
        reason_code: None,
        invalidity_date: None,
    });
    Ok((revoked.collect(), number))
}
