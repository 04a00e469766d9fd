//! An authority as files that signs: opened with distrust, since they may be anybody's.

use crate::certs::{DAYS_MAX, Existing, Host, MakeError};
use crate::crypto::random_serial;
use crate::describe::{describe_der, now_unix_s, utc};
use crate::files::Clash;
use crate::name::NODE_NAME_SUFFIX;
use crate::pem::{PemError, malformed, read_certificates, read_key};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PublicKeyData, SanType, SerialNumber,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::path::{Path, PathBuf};
use time::{Duration, OffsetDateTime};
use x509_parser::prelude::{FromDer, X509Certificate};

/// So much earlier than now certificates begin, since clocks differ.
const BACKDATED: Duration = Duration::HOUR;

/// Why an authority can't sign.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// Give the directory of one, or make one there.
    #[error("{0}: there is no authority: `memlane certs authority {0}` makes one", directory.display())]
    None {
        /// Where it was looked for.
        directory: PathBuf,
    },
    /// A file of it can't be used: see there.
    #[error(transparent)]
    File(#[from] PemError),
    /// The files don't belong together: bring the right ones.
    #[error("{key}: this key is not the one of {certificate}")]
    KeyDoesNotFit {
        /// The key's file.
        key: PathBuf,
        /// The certificate's.
        certificate: PathBuf,
    },
    /// It may sign nothing: give an authority's certificate (basicConstraints CA:TRUE).
    #[error("{path}: this certificate isn't an authority's")]
    NotAnAuthority {
        /// The file.
        path: PathBuf,
    },
    /// What it signs would be valid nowhere: renew it.
    #[error("{path}: the authority expired on {on}: renew it with `memlane certs authority --renew`")]
    Expired {
        /// The file.
        path: PathBuf,
        /// When.
        on: String,
    },
}

/// Where an authority's files are.
#[derive(Debug)]
pub(crate) struct AuthorityFiles {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    pub(crate) revoked: PathBuf,
}

impl AuthorityFiles {
    pub(crate) fn of(directory: &Path) -> Self {
        let [certificate, key, revoked] =
            ["authority.pem", "authority.key", "revoked.pem"].map(|it| directory.join(it));
        Self { certificate, key, revoked }
    }
}

/// From when to when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Validity {
    pub(crate) begin: OffsetDateTime,
    pub(crate) end: OffsetDateTime,
}

impl Validity {
    /// So many days from now, but not past `latest`, in seconds since 1970; and whether that cut it short.
    pub(crate) fn from_now(days: u32, latest: Option<i64>) -> Result<(Self, bool), MakeError> {
        if !(1..=DAYS_MAX).contains(&days) {
            return Err(MakeError::Days(days));
        }
        let now = OffsetDateTime::now_utc();
        let (begin, end) = (now - BACKDATED, now + Duration::days(days.into()));
        let latest = latest.and_then(|latest| OffsetDateTime::from_unix_timestamp(latest).ok());
        Ok(match latest.filter(|latest| *latest < end) {
            Some(latest) => (Self { begin, end: latest }, true),
            None => (Self { begin, end }, false),
        })
    }
}

/// An authority that signs.
#[derive(Debug)]
pub(crate) struct Authority {
    pub(crate) files: AuthorityFiles,
    pub(crate) issuer: Issuer<'static, KeyPair>,
    pub(crate) certificate: CertificateDer<'static>,
    /// In seconds since 1970.
    pub(crate) valid_until: i64,
}

impl Authority {
    pub(crate) fn open(directory: &Path) -> Result<Self, AuthorityError> {
        let files = AuthorityFiles::of(directory);
        if !files.certificate.exists() {
            return Err(AuthorityError::None { directory: directory.to_owned() });
        }
        let certificate = read_certificates(&files.certificate)?.swap_remove(0);
        let unreadable = |error: &dyn std::fmt::Display| malformed(&files.certificate, error);
        let said = describe_der(&certificate).map_err(|error| unreadable(&error))?;
        if !said.is_authority {
            return Err(AuthorityError::NotAnAuthority { path: files.certificate });
        }
        if said.valid_until_unix_s <= now_unix_s() {
            return Err(AuthorityError::Expired { on: utc(said.valid_until_unix_s), path: files.certificate });
        }
        let key = key_pair(&read_key(&files.key)?).map_err(|error| malformed(&files.key, &error))?;
        let (_, parsed) = X509Certificate::from_der(&certificate).map_err(|error| unreadable(&error))?;
        if parsed.public_key().raw != key.subject_public_key_info() {
            return Err(AuthorityError::KeyDoesNotFit { key: files.key, certificate: files.certificate });
        }
        let issuer = Issuer::from_ca_cert_der(&certificate, key).map_err(|error| unreadable(&error))?;
        Ok(Self { issuer, valid_until: said.valid_until_unix_s, certificate, files })
    }

    /// Signs a certificate for a node.
    pub(crate) fn sign(
        &self,
        node: &str,
        hosts: &[Host],
        key: &KeyPair,
        validity: Validity,
    ) -> Result<rcgen::Certificate, MakeError> {
        let mut names = vec![dns(&format!("{node}{NODE_NAME_SUFFIX}"))?];
        for host in hosts {
            names.push(match host {
                Host::Dns(name) => dns(name)?,
                Host::Ip(address) => SanType::IpAddress(*address),
            });
        }
        let mut params = params(node, validity);
        params.subject_alt_names = names;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        params.signed_by(key, &self.issuer).map_err(refused)
    }

    /// Whether its certificate has to be put into a node's file of authorities, and over what is there or not.
    pub(crate) fn must_be_put(&self, path: &Path, existing: Existing) -> Result<Option<Clash>, MakeError> {
        if !path.exists() {
            return Ok(Some(Clash::Refuse));
        }
        let there = read_certificates(path)?;
        if there.contains(&self.certificate) {
            return Ok(None);
        }
        let identity = |der: &CertificateDer<'_>| {
            let parsed = X509Certificate::from_der(der).ok()?.1;
            Some((parsed.subject().as_raw().to_vec(), parsed.public_key().raw.to_vec()))
        };
        // The same authority before it was renewed.
        let is_same = there.len() == 1 && identity(&there[0]).is_some_and(|it| Some(it) == identity(&self.certificate));
        if is_same && existing != Existing::Refuse {
            return Ok(Some(Clash::Replace));
        }
        Err(MakeError::OtherAuthority { path: path.to_owned(), authority: self.files.certificate.clone() })
    }
}

/// An authority's own certificate.
pub(crate) fn self_signed(name: &str, key: &KeyPair, validity: Validity) -> Result<rcgen::Certificate, MakeError> {
    let mut params = params(name, validity);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.self_signed(key).map_err(refused)
}

pub(crate) fn new_key() -> Result<KeyPair, MakeError> {
    KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(refused)
}

fn params(name: &str, validity: Validity) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    (params.not_before, params.not_after) = (validity.begin, validity.end);
    params.serial_number = Some(SerialNumber::from_slice(&random_serial()));
    params
}

fn dns(name: &str) -> Result<SanType, MakeError> {
    Ok(SanType::DnsName(name.try_into().map_err(refused)?))
}

fn refused(error: rcgen::Error) -> MakeError {
    MakeError::Cryptography(error.to_string())
}

pub(crate) fn key_pair(key: &PrivateKeyDer<'_>) -> Result<KeyPair, rcgen::Error> {
    KeyPair::try_from(key)
}
