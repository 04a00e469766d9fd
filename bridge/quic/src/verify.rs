//! What TLS asks during a handshake: which certificate to show, and whether a peer's is good. Each question is answered by the credentials that are in force at that moment, so that a reload counts for the next handshake and no connection ends by it.
//!
//! Invariant: a peer that passes has a certificate that one of the authorities signed, that is valid now, isn't revoked, and names one node; a server's names the node that was meant, to the letter.

use crate::crypto::provider;
use crate::name::peer_name;
use rustls::client::ResolvesClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ResolvesServerCert, VerifierBuilderError, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, RootCertStore, SignatureScheme,
    client::WebPkiServerVerifier,
};
use std::sync::{Arc, PoisonError, RwLock};

/// What a node shows, and what it believes.
#[derive(Debug)]
pub(crate) struct Credentials {
    pub(crate) name: String,
    /// When the certificate expires, in seconds since 1970.
    pub(crate) valid_until_unix_s: i64,
    pub(crate) shown: Arc<CertifiedKey>,
    pub(crate) servers: Arc<dyn ServerCertVerifier>,
    pub(crate) clients: Arc<dyn ClientCertVerifier>,
}

/// The questions of both sides, for these authorities. Without a list, nothing is revoked; with some, neither is what an authority without a list signed. A list counts though its next one is due: it is a file, which nobody fetches.
pub(crate) type Verifiers = (Arc<dyn ServerCertVerifier>, Arc<dyn ClientCertVerifier>);

pub(crate) fn verifiers(
    roots: RootCertStore,
    revoked: Vec<CertificateRevocationListDer<'static>>,
) -> Result<Verifiers, VerifierBuilderError> {
    let roots = Arc::new(roots);
    let servers = WebPkiServerVerifier::builder_with_provider(Arc::clone(&roots), provider());
    let servers = servers.with_crls(revoked.iter().cloned()).allow_unknown_revocation_status().build()?;
    let clients = WebPkiClientVerifier::builder_with_provider(roots, provider());
    let clients = clients.with_crls(revoked).allow_unknown_revocation_status().build()?;
    Ok((servers, clients))
}

/// The credentials in force.
#[derive(Debug)]
pub(crate) struct Shared(RwLock<Arc<Credentials>>);

impl Shared {
    pub(crate) fn new(credentials: Credentials) -> Arc<Self> {
        Arc::new(Self(RwLock::new(Arc::new(credentials))))
    }

    pub(crate) fn now(&self) -> Arc<Credentials> {
        // Nothing can panic while it is held: what is in it is whole.
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn replace(&self, credentials: Credentials) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(credentials);
    }
}

impl ResolvesServerCert for Shared {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.now().shown))
    }
}

impl ResolvesClientCert for Shared {
    fn resolve(&self, _authorities: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.now().shown))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// The node that a certificate names, or the refusal.
fn node(certificate: &CertificateDer<'_>) -> Result<String, Error> {
    let refuse = |error| Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(error))));
    peer_name(certificate).map_err(refuse)
}

impl ServerCertVerifier for Shared {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let servers = &self.now().servers;
        let verified = servers.verify_server_cert(certificate, intermediates, server, ocsp_response, now)?;
        let named = crate::server_name(&node(certificate)?).map_err(|error| Error::General(error.to_string()))?;
        // DNS names don't differ by case, and know wildcards.
        if named.to_str() != server.to_str() {
            let (expected, presented) = (server.to_owned(), vec![named.to_str().into_owned()]);
            return Err(CertificateError::NotValidForNameContext { expected, presented }.into());
        }
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.now().servers.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.now().servers.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.now().servers.supported_verify_schemes()
    }
}

impl ClientCertVerifier for Shared {
    /// None: a node has one certificate to show, whoever asks.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.now().clients.verify_client_cert(certificate, intermediates, now)?;
        node(certificate).map(|_| verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.now().clients.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.now().clients.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.now().clients.supported_verify_schemes()
    }
}
