//! Connections that weren't to be: why, how often, and a line of the log for each, unless there are too many.

use crate::quiet::Quiet;
use memlane_bridge_protocol::EndCode;
use quinn::{ConnectionError, TransportErrorCode};
use rustls::AlertDescription;
use std::sync::atomic::{AtomicU64, Ordering};

/// Why a connection was refused, or given up: what its peer did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refusal {
    /// It shows no certificate.
    NoCertificate,
    /// Its certificate was signed by no authority that is believed here.
    OtherAuthority,
    /// Its certificate has expired, or isn't valid yet.
    Expired,
    /// Its certificate was revoked.
    Revoked,
    /// Its certificate is bad in another way: another node's than was meant, no node's, or not for both sides.
    BadCertificate,
    /// It speaks another protocol over QUIC, or no TLS 1.3.
    OtherProtocol,
    /// What came as the begin of a connection was none.
    Garbage,
    /// It didn't shake hands, or not greet, in time.
    Silent,
    /// Too many shake hands at once, or from its address in so short a time.
    TooMany,
    /// It speaks no version of the bridge's protocol that is spoken here.
    OtherVersion,
    /// It says that it is another node than its certificate does, or is this very one.
    OtherName,
    /// What it said can't be read.
    Malformed,
    /// It did what may not be done then.
    OutOfTurn,
    /// It doesn't read what it is told.
    NotReading,
    /// Another connection of the same node has taken its place, or has it.
    Replaced,
    /// It has gone while it shook hands, or for a reason that has no name here.
    Other,
}

impl Refusal {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::NoCertificate,
        Self::OtherAuthority,
        Self::Expired,
        Self::Revoked,
        Self::BadCertificate,
        Self::OtherProtocol,
        Self::Garbage,
        Self::Silent,
        Self::TooMany,
        Self::OtherVersion,
        Self::OtherName,
        Self::Malformed,
        Self::OutOfTurn,
        Self::NotReading,
        Self::Replaced,
        Self::Other,
    ];

    /// A word for it, as for a label of metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoCertificate => "no_certificate",
            Self::OtherAuthority => "other_authority",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::BadCertificate => "bad_certificate",
            Self::OtherProtocol => "other_protocol",
            Self::Garbage => "garbage",
            Self::Silent => "silent",
            Self::TooMany => "too_many",
            Self::OtherVersion => "other_version",
            Self::OtherName => "other_name",
            Self::Malformed => "malformed",
            Self::OutOfTurn => "out_of_turn",
            Self::NotReading => "not_reading",
            Self::Replaced => "replaced",
            Self::Other => "other",
        }
    }

    /// Of a handshake that failed.
    pub(crate) fn of_handshake(error: &ConnectionError) -> Self {
        let code = match error {
            ConnectionError::TransportError(error) => error.code,
            ConnectionError::ConnectionClosed(close) => close.error_code,
            ConnectionError::TimedOut => return Self::Silent,
            ConnectionError::VersionMismatch => return Self::OtherProtocol,
            _ => return Self::Other,
        };
        match crate::why::alert_of(code).map(AlertDescription::from) {
            Some(AlertDescription::CertificateRequired) => Self::NoCertificate,
            Some(AlertDescription::UnknownCA) => Self::OtherAuthority,
            Some(AlertDescription::CertificateExpired) => Self::Expired,
            Some(AlertDescription::CertificateRevoked) => Self::Revoked,
            Some(
                AlertDescription::BadCertificate
                | AlertDescription::CertificateUnknown
                | AlertDescription::UnsupportedCertificate
                | AlertDescription::DecryptError,
            ) => Self::BadCertificate,
            Some(
                AlertDescription::NoApplicationProtocol
                | AlertDescription::ProtocolVersion
                | AlertDescription::HandshakeFailure,
            ) => Self::OtherProtocol,
            Some(_) => Self::Garbage,
            None if code == TransportErrorCode::PROTOCOL_VIOLATION => Self::Garbage,
            None => Self::Other,
        }
    }

    /// Of a link that ended with this code; `None` if that is no fault.
    pub(crate) fn of_end(code: EndCode) -> Option<Self> {
        match code {
            EndCode::Version => Some(Self::OtherVersion),
            EndCode::Malformed => Some(Self::Malformed),
            EndCode::OutOfTurn => Some(Self::OutOfTurn),
            EndCode::NotAllowed => Some(Self::OtherName),
            EndCode::TooMany => Some(Self::NotReading),
            _ => None,
        }
    }
}

/// How often each happened, and its lines of the log.
#[derive(Debug, Default)]
pub(crate) struct Refusals([(AtomicU64, Quiet); Refusal::ALL.len()]);

impl Refusals {
    /// Counts a refusal, and tells it; `who` is a peer's name or address.
    pub(crate) fn tell(&self, refusal: Refusal, who: &dyn std::fmt::Display, text: &str) {
        let (count, quiet) = &self.0[refusal as usize];
        count.fetch_add(1, Ordering::Relaxed);
        if let Some(left_out) = quiet.may() {
            tracing::warn!(from = %who, reason = refusal.as_str(), left_out = left_out.0, "refused: {text}");
        }
    }

    /// Those that happened.
    pub(crate) fn counts(&self) -> Vec<(Refusal, u64)> {
        let counted = Refusal::ALL.map(|refusal| (refusal, self.0[refusal as usize].0.load(Ordering::Relaxed)));
        counted.into_iter().filter(|(_, count)| *count > 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_has_its_own_place_and_word() {
        let refusals = Refusals::default();
        for (index, refusal) in Refusal::ALL.into_iter().enumerate() {
            assert_eq!(refusal as usize, index);
            (0..=index).for_each(|_| refusals.tell(refusal, &"oslo", "no"));
        }
        let words: std::collections::HashSet<_> = Refusal::ALL.map(Refusal::as_str).into();
        assert_eq!(words.len(), Refusal::ALL.len());
        assert_eq!(refusals.counts(), Refusal::ALL.map(|it| (it, it as u64 + 1)));
    }
}
