//! Why a connection could not be had, in words.

use crate::refusal::{RefusedBy, explain_alert};
use quinn::{ConnectionError, TransportErrorCode};

/// What a connection failed of, and what to do.
pub(crate) fn explain_connection(error: &ConnectionError) -> String {
    match error {
        ConnectionError::TransportError(error) => match alert_of(error.code) {
            Some(alert) => explain_alert(alert, RefusedBy::Us, &error.reason),
            None => error.to_string(),
        },
        ConnectionError::ConnectionClosed(close) => match alert_of(close.error_code) {
            Some(alert) => explain_alert(alert, RefusedBy::Peer, &String::from_utf8_lossy(&close.reason)),
            None => error.to_string(),
        },
        ConnectionError::ApplicationClosed(close) => {
            format!("the peer has closed it: {}", String::from_utf8_lossy(&close.reason).escape_debug())
        }
        ConnectionError::TimedOut => "it doesn't answer any more".to_owned(),
        ConnectionError::VersionMismatch => "it speaks another version of QUIC".to_owned(),
        other => other.to_string(),
    }
}

/// The number of TLS's alert in an error of QUIC (RFC 9001, section 4.8).
pub(crate) fn alert_of(code: TransportErrorCode) -> Option<u8> {
    u64::from(code).checked_sub(0x100).and_then(|alert| u8::try_from(alert).ok())
}
