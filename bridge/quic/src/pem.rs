//! Certificates, keys and lists of revoked certificates out of PEM files. What is wrong is said with the file's name.

use nix::unistd::geteuid;
use rustls::pki_types::pem::{Error as SectionError, PemObject};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The longest file that is read, in bytes: a list of a hundred thousand revoked certificates.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// Why a file of certificates or keys can't be used.
#[derive(Debug, thiserror::Error)]
pub enum PemError {
    /// Give the path of a file that is there.
    #[error("{path}: there is no such file")]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The system refuses to read it: see the source.
    #[error("{path}: can't read it: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another file was meant, or it was cut.
    #[error("{path}: there is no certificate in it (a block that begins with `-----BEGIN CERTIFICATE-----`)")]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// Another file was meant, or it was cut.
    #[error("{path}: there is no private key in it (a block that begins with `-----BEGIN PRIVATE KEY-----`)")]
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// A service has nobody to ask for the password: take it off, and keep the file to its user.
    #[error(
        "{path}: the key is encrypted: take the password off with `openssl pkey -in {path} -out NEW`, and chmod 600"
    )]
    EncryptedKey {
        /// The file.
        path: PathBuf,
    },
    /// Another file was meant, or it was cut.
    #[error(
        "{path}: there is no list of revoked certificates in it (a block that begins with `-----BEGIN X509 CRL-----`)"
    )]
    NoRevocations {
        /// The file.
        path: PathBuf,
    },
    /// It was damaged: get it anew.
    #[error("{path}: can't make it out: {what}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// Others may have read it: `chmod 600`, and if they shouldn't have, renew it with a new key.
    #[error("{path}: others than its owner may read or change this private key (mode {mode:o}): chmod 600 {path}")]
    KeyOpenToOthers {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
}

/// The certificates in a file, in their order; at least one.
pub(crate) fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, PemError> {
    read_all(path, PemError::NoCertificate { path: path.to_owned() })
}

/// The lists of revoked certificates in a file; at least one.
pub(crate) fn read_revocations(path: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, PemError> {
    read_all(path, PemError::NoRevocations { path: path.to_owned() })
}

/// The first private key in a file that nobody else may read.
///
/// As with ssh: of one's own file neither group nor others may read or change it; of another user's, such as root's that was given to one's group, others may not.
pub(crate) fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, PemError> {
    let file = open(path)?;
    let metadata = file.metadata().map_err(|source| PemError::Read { path: path.to_owned(), source })?;
    let mode = metadata.permissions().mode() & 0o777;
    let closed_to = if metadata.uid() == geteuid().as_raw() { 0o077 } else { 0o007 };
    if mode & closed_to != 0 {
        return Err(PemError::KeyOpenToOthers { path: path.to_owned(), mode });
    }
    let bytes = read(path, file)?;
    match PrivateKeyDer::from_pem_slice(&bytes) {
        Ok(key) => Ok(key),
        Err(SectionError::NoItemsFound) if holds(&bytes, b"ENCRYPTED") => {
            Err(PemError::EncryptedKey { path: path.to_owned() })
        }
        Err(SectionError::NoItemsFound) => Err(PemError::NoKey { path: path.to_owned() }),
        Err(error) => Err(malformed(path, &error)),
    }
}

/// What is wrong with a file, in the words of who tried to read it.
pub(crate) fn malformed(path: &Path, what: &dyn std::fmt::Display) -> PemError {
    PemError::Malformed { path: path.to_owned(), what: what.to_string() }
}

fn read_all<T: PemObject>(path: &Path, none: PemError) -> Result<Vec<T>, PemError> {
    let bytes = read(path, open(path)?)?;
    let all: Result<Vec<T>, _> = T::pem_slice_iter(&bytes).collect();
    match all {
        Ok(all) if all.is_empty() => Err(none),
        Ok(all) => Ok(all),
        Err(error) => Err(malformed(path, &error)),
    }
}

fn open(path: &Path) -> Result<File, PemError> {
    File::open(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => PemError::Missing { path: path.to_owned() },
        _ => PemError::Read { path: path.to_owned(), source },
    })
}

fn read(path: &Path, file: File) -> Result<Vec<u8>, PemError> {
    let mut bytes = Vec::new();
    let read = file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes);
    read.map_err(|source| PemError::Read { path: path.to_owned(), source })?;
    if bytes.len() as u64 > FILE_BYTES_MAX { Err(malformed(path, &"it is longer than 4 MiB")) } else { Ok(bytes) }
}

fn holds(bytes: &[u8], word: &[u8]) -> bool {
    bytes.windows(word.len()).any(|window| window == word)
}
