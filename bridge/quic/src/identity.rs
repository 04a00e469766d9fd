//! A node's identity: its certificate and key, and the authorities that it believes, out of PEM files; and both sides of TLS with them.
//!
//! Invariant: what is in force was whole and usable when it was loaded. A reload that fails changes nothing.

use crate::crypto::{provider, sha256};
use crate::describe::{describe_der, utc};
use crate::name::{PeerNameError, peer_name, server_name};
use crate::pem::{PemError, malformed, read_certificates, read_key, read_revocations};
use crate::refusal::explain;
use crate::verify::{Credentials, Shared, Verifiers, verifiers};
use rustls::client::Resumption;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::{NoServerSessionStorage, VerifierBuilderError};
use rustls::sign::CertifiedKey;
use rustls::version::TLS13;
use rustls::{CertificateError, ClientConfig, Error, InconsistentKeys, RootCertStore, ServerConfig};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What a bridge's connection is called in TLS (ALPN): the bridge's protocol in its first version.
pub const ALPN: &[u8] = b"memlane/1";

/// Where a node's identity lies, in PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityFiles {
    /// Its certificate, and behind it those between it and its authority, if there are any.
    pub certificate: PathBuf,
    /// Its private key, which nobody else may read.
    pub key: PathBuf,
    /// The authorities whose certificates it believes; also more than one.
    pub authorities: PathBuf,
    /// Lists of certificates that aren't valid any more, if there are any.
    pub revoked: Option<PathBuf>,
}

/// Why an identity can't be used. A message names the file.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file can't be used: see there.
    #[error(transparent)]
    File(#[from] PemError),
    /// Have the certificate made with the node's name.
    #[error("{path}: {reason}")]
    NoNode {
        /// The certificate's file.
        path: PathBuf,
        /// What is wrong with its names.
        reason: PeerNameError,
    },
    /// Renew it.
    #[error("{path}: the certificate expired on {on}: renew it (`memlane certs node --renew`)")]
    Expired {
        /// The certificate's file.
        path: PathBuf,
        /// When.
        on: String,
    },
    /// Wait, or set the clock.
    #[error("{path}: the certificate is valid from {from} on only: is the clock right?")]
    NotYetValid {
        /// The certificate's file.
        path: PathBuf,
        /// From when on.
        from: String,
    },
    /// Give a key such as ECDSA on P-256, Ed25519, or RSA of 2048 bits or more.
    #[error("{path}: the key can't be used: {what}")]
    UnusableKey {
        /// The key's file.
        path: PathBuf,
        /// Why.
        what: String,
    },
    /// The files don't belong together; or a renewal is under way: load again.
    #[error("{key}: this key is not the one of the certificate in {certificate}")]
    KeyDoesNotFit {
        /// The key's file.
        key: PathBuf,
        /// The certificate's.
        certificate: PathBuf,
    },
    /// Give the authority's certificate, not one that it signed.
    #[error("{path}: the certificate of {subject} in it isn't an authority's")]
    NotAnAuthority {
        /// The file of authorities.
        path: PathBuf,
        /// Whose it is.
        subject: String,
    },
    /// Renew the authority.
    #[error("{path}: none of the authorities in it is valid any more; the last one expired on {on}")]
    AuthoritiesExpired {
        /// The file of authorities.
        path: PathBuf,
        /// When.
        on: String,
    },
    /// Get the list anew, from the authority that signed it.
    #[error("{path}: the list of revoked certificates can't be used: {what}")]
    UnusableList {
        /// The file.
        path: PathBuf,
        /// Why.
        what: String,
    },
    /// No peer that has the list would take it: have another made.
    #[error("{path}: this certificate was revoked (it is on the list {list})")]
    Revoked {
        /// The certificate's file.
        path: PathBuf,
        /// The list's.
        list: PathBuf,
    },
    /// No peer would take it: have it made for what is missing.
    #[error("{path}: peers wouldn't take this certificate: {what}")]
    Unusable {
        /// The certificate's file.
        path: PathBuf,
        /// Why.
        what: String,
    },
    /// A node keeps its name: what it sent is known by it. Start anew with the other one.
    #[error("{path}: this certificate is the node {new}'s, and this node is {old}")]
    OtherNode {
        /// The certificate's file.
        path: PathBuf,
        /// The name so far.
        old: String,
        /// The name in the file.
        new: String,
    },
}

/// A node's identity. Configurations that it made follow it when it is reloaded.
#[derive(Debug)]
pub struct Identity {
    files: IdentityFiles,
    shared: Arc<Shared>,
}

impl Identity {
    /// Reads the files, and checks that they are usable, and belong together.
    ///
    /// Authorities that expired are passed over as long as one is valid. The certificate need not be signed by one of them: it is the peers who have to believe its authority.
    ///
    /// Errors: [`IdentityError`].
    pub fn load(files: IdentityFiles) -> Result<Self, IdentityError> {
        Self::load_at(files, UnixTime::now())
    }

    pub(crate) fn load_at(files: IdentityFiles, now: UnixTime) -> Result<Self, IdentityError> {
        let shared = Shared::new(credentials(&files, now)?);
        Ok(Self { files, shared })
    }

    /// Reads the files again. What is in them counts for handshakes that begin from now on, on both sides, also of configurations that were handed out; connections that there are go on, with whom they were made with, even if that was revoked.
    ///
    /// Errors: [`IdentityError`]; what was in force stays so.
    pub fn reload(&self) -> Result<(), IdentityError> {
        let (old, new) = (self.shared.now(), credentials(&self.files, UnixTime::now())?);
        if old.name != new.name {
            let path = self.files.certificate.clone();
            return Err(IdentityError::OtherNode { path, old: old.name.clone(), new: new.name });
        }
        self.shared.replace(new);
        Ok(())
    }

    /// The node's name. Cost: an allocation.
    #[must_use]
    pub fn name(&self) -> String {
        self.shared.now().name.clone()
    }

    /// When the certificate that is in force expires, in seconds since 1970: renew it before, and reload.
    #[must_use]
    pub fn valid_until_unix_s(&self) -> i64 {
        self.shared.now().valid_until_unix_s
    }

    /// Whether that certificate passes at a node that believes the authorities believed here.
    ///
    /// Cost: verifies a signature.
    #[must_use]
    pub fn is_signed_by_its_authorities(&self) -> bool {
        let now = self.shared.now();
        let (own, between) = now.shown.cert.split_first().expect("a certificate was loaded");
        now.clients.verify_client_cert(own, between, UnixTime::now()).is_ok()
    }

    /// A secret that lasts as long as the node's key, from which nothing of that can be found out: with it a node that was begun anew can tell peers that what they had with the one before is over
    /// (RFC 9000, section 10.3).
    ///
    /// Cost: reads the key. Errors: [`PemError`].
    pub(crate) fn reset_secret(&self) -> Result<Vec<u8>, PemError> {
        let key = read_key(&self.files.key)?;
        Ok(sha256(&[b"memlane bridge, stateless reset", key.secret_der()].concat()))
    }

    /// TLS of the side that is connected to: 1.3, with a certificate of each peer, and [`ALPN`]. Nothing is resumed: each connection shows its certificate anew.
    #[must_use]
    pub fn server_config(&self) -> ServerConfig {
        let builder = ServerConfig::builder_with_provider(provider()).with_protocol_versions(&[&TLS13]);
        let builder = builder.expect("the provider has what TLS 1.3 needs");
        let shared = Arc::clone(&self.shared);
        let mut config = builder.with_client_cert_verifier(shared).with_cert_resolver(Arc::clone(&self.shared) as _);
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config
    }

    /// TLS of the side that connects, with the same. The name to connect to is [`server_name`] of the peer's, whatever its address.
    #[must_use]
    pub fn client_config(&self) -> ClientConfig {
        let builder = ClientConfig::builder_with_provider(provider()).with_protocol_versions(&[&TLS13]);
        let builder = builder.expect("the provider has what TLS 1.3 needs").dangerous();
        let shared = Arc::clone(&self.shared);
        let builder = builder.with_custom_certificate_verifier(shared);
        let mut config = builder.with_client_cert_resolver(Arc::clone(&self.shared) as _);
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.resumption = Resumption::disabled();
        config
    }
}

fn credentials(files: &IdentityFiles, now: UnixTime) -> Result<Credentials, IdentityError> {
    let chain = read_certificates(&files.certificate)?;
    let (name, valid_until_unix_s) = own_name(&files.certificate, &chain[0], now)?;
    let shown = with_key(files, chain)?;
    let roots = authorities(&files.authorities, now)?;
    let revoked = files.revoked.as_deref().map(read_revocations).transpose()?.unwrap_or_default();
    let (servers, clients) = verifiers(roots, revoked).map_err(|error| match error {
        VerifierBuilderError::InvalidCrl(error) => unusable_list(files, &Error::InvalidCertRevocationList(error)),
        // At least one authority is valid, so it is the file all the same.
        error => malformed(&files.authorities, &error).into(),
    })?;
    check_own(files, &name, &shown.cert, &(Arc::clone(&servers), Arc::clone(&clients)), now)?;
    Ok(Credentials { name, valid_until_unix_s, shown: Arc::new(shown), servers, clients })
}

/// Whose certificate it is, and until when it is valid.
fn own_name(path: &Path, own: &CertificateDer<'_>, now: UnixTime) -> Result<(String, i64), IdentityError> {
    let said = describe_der(own).map_err(|error| malformed(path, &error))?;
    let name = peer_name(own).map_err(|reason| IdentityError::NoNode { path: path.to_owned(), reason })?;
    let (now, from, until) = (seconds(now), said.valid_from_unix_s, said.valid_until_unix_s);
    match () {
        () if until < now => Err(IdentityError::Expired { path: path.to_owned(), on: utc(until) }),
        () if from > now => Err(IdentityError::NotYetValid { path: path.to_owned(), from: utc(from) }),
        () => Ok((name, until)),
    }
}

/// The certificates with their key.
fn with_key(files: &IdentityFiles, chain: Vec<CertificateDer<'static>>) -> Result<CertifiedKey, IdentityError> {
    let unusable = |what: String| IdentityError::UnusableKey { path: files.key.clone(), what };
    let key = provider().key_provider.load_private_key(read_key(&files.key)?);
    let shown = CertifiedKey::new(chain, key.map_err(|error| unusable(error.to_string()))?);
    match shown.keys_match() {
        // Keys that don't tell can't be compared; a handshake will.
        Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(shown),
        Err(Error::InconsistentKeys(_)) => {
            Err(IdentityError::KeyDoesNotFit { key: files.key.clone(), certificate: files.certificate.clone() })
        }
        Err(error) => Err(unusable(error.to_string())),
    }
}

/// The authorities in a file that are valid.
fn authorities(path: &Path, now: UnixTime) -> Result<RootCertStore, IdentityError> {
    let (mut roots, mut expired) = (RootCertStore::empty(), i64::MIN);
    for certificate in read_certificates(path)? {
        let said = describe_der(&certificate).map_err(|error| malformed(path, &error))?;
        if !said.is_authority {
            return Err(IdentityError::NotAnAuthority { path: path.to_owned(), subject: said.subject });
        }
        if said.valid_until_unix_s < seconds(now) {
            expired = expired.max(said.valid_until_unix_s);
            continue;
        }
        roots.add(certificate).map_err(|error| malformed(path, &error))?;
    }
    if roots.is_empty() {
        return Err(IdentityError::AuthoritiesExpired { path: path.to_owned(), on: utc(expired) });
    }
    Ok(roots)
}

/// Looks at the own certificate as peers will, on both sides; but for its authority, which may be one that only they believe.
fn check_own(
    files: &IdentityFiles,
    name: &str,
    chain: &[CertificateDer<'static>],
    (servers, clients): &Verifiers,
    now: UnixTime,
) -> Result<(), IdentityError> {
    let path = || files.certificate.clone();
    let (own, between) = chain.split_first().expect("a certificate was read");
    let server =
        server_name(name).map_err(|error| IdentityError::Unusable { path: path(), what: error.to_string() })?;
    let checked = servers.verify_server_cert(own, between, &server, &[], now).map(|_| ());
    let checked = checked.and_then(|()| clients.verify_client_cert(own, between, now).map(|_| ()));
    match checked {
        Ok(()) | Err(Error::InvalidCertificate(CertificateError::UnknownIssuer)) => Ok(()),
        Err(Error::InvalidCertificate(CertificateError::Revoked)) => {
            Err(IdentityError::Revoked { path: path(), list: files.revoked.clone().unwrap_or_default() })
        }
        Err(error @ Error::InvalidCertRevocationList(_)) => Err(unusable_list(files, &error)),
        Err(error) => Err(IdentityError::Unusable { path: path(), what: explain(&error) }),
    }
}

fn unusable_list(files: &IdentityFiles, error: &Error) -> IdentityError {
    IdentityError::UnusableList { path: files.revoked.clone().unwrap_or_default(), what: error.to_string() }
}

fn seconds(time: UnixTime) -> i64 {
    i64::try_from(time.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
#[path = "identity_tests.rs"]
mod tests;
