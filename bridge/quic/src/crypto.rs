//! The cryptography that everything here uses: AWS-LC. Why it, and what it gives, stands in `docs/decisions/0026-tls-of-the-bridge.md`.

use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider};
use std::sync::{Arc, OnceLock};

/// What both sides of a connection compute with. AES-128-GCM goes first: it is the fastest where processors have instructions for it. Keys are agreed on by X25519 together with ML-KEM-768 where the peer can: what is recorded today can't be read by a quantum computer later.
///
/// Cost: made once for the process, then a counter.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    let make = || {
        let mut provider = default_provider();
        provider.cipher_suites = vec![
            cipher_suite::TLS13_AES_128_GCM_SHA256,
            cipher_suite::TLS13_AES_256_GCM_SHA384,
            cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        ];
        Arc::new(provider)
    };
    Arc::clone(PROVIDER.get_or_init(make))
}

/// The SHA-256 of `bytes`.
pub(crate) fn sha256(bytes: &[u8]) -> Vec<u8> {
    let suite = cipher_suite::TLS13_AES_128_GCM_SHA256.tls13().expect("its name says TLS 1.3");
    suite.common.hash_provider.hash(bytes).as_ref().to_vec()
}

/// 16 bytes that nobody can guess, as a positive number of just so many bytes.
pub(crate) fn random_serial() -> [u8; 16] {
    let mut bytes = [0; 16];
    provider().secure_random.fill(&mut bytes).expect("the kernel gives random bytes");
    bytes[0] = bytes[0] & 0x3f | 0x40;
    bytes
}
