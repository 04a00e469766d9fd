//! What tests share: authorities and nodes in a directory that goes at the end, and handshakes in memory.

use crate::authority::{Authority, Validity, new_key};
use crate::certs::{Existing, NodeRequest, make_authority, make_node};
use crate::identity::{Identity, IdentityFiles};
use crate::name::{peer_name, server_name};
use rcgen::KeyPair;
use rustls::pki_types::UnixTime;
use rustls::{ClientConfig, ClientConnection, Error, ServerConfig, ServerConnection};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use time::OffsetDateTime;

/// A directory with an authority, `a`, and room for others and for nodes.
pub(crate) struct Place {
    directory: TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        let place = Self { directory: tempfile::tempdir().unwrap() };
        place.authority("a");
        place
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn authority(&self, name: &str) -> PathBuf {
        make_authority(&self.path(name), 3650).unwrap();
        self.path(name)
    }

    /// Makes a node's files, signed by an authority.
    pub(crate) fn node_of(&self, authority: &str, node: &str, existing: Existing) -> IdentityFiles {
        let request = NodeRequest { node: node.to_owned(), hosts: Vec::new(), days: 397, existing };
        let made = make_node(&request, &self.path(authority), &self.path(node)).unwrap();
        IdentityFiles { certificate: made.certificate, key: made.key, authorities: made.authority, revoked: None }
    }

    pub(crate) fn files(&self, node: &str) -> IdentityFiles {
        self.node_of("a", node, Existing::Refuse)
    }

    pub(crate) fn identity(&self, node: &str) -> Identity {
        Identity::load(self.files(node)).unwrap()
    }

    /// Makes a node's certificate that is valid for other days than usual: from and to so many days from now.
    pub(crate) fn node_within(&self, node: &str, days: (i64, i64)) -> IdentityFiles {
        let files = self.files(node);
        let now = OffsetDateTime::now_utc();
        let validity = Validity { begin: now + time::Duration::days(days.0), end: now + time::Duration::days(days.1) };
        let key = new_key().unwrap();
        let signed = Authority::open(&self.path("a")).unwrap().sign(node, &[], &key, validity).unwrap();
        put_pair(&files, &signed, &key);
        files
    }
}

/// Puts a certificate and its key in the place of those that are there.
pub(crate) fn put_pair(files: &IdentityFiles, certificate: &rcgen::Certificate, key: &KeyPair) {
    fs::write(&files.certificate, certificate.pem()).unwrap();
    fs::write(&files.key, key.serialize_pem()).unwrap();
}

pub(crate) fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// So many days from now.
pub(crate) fn in_days(days: i64) -> UnixTime {
    let seconds = OffsetDateTime::now_utc().unix_timestamp() + days * 86_400;
    UnixTime::since_unix_epoch(Duration::from_secs(seconds.try_into().unwrap()))
}

/// Both ends of a connection.
pub(crate) struct Pair {
    pub(crate) client: ClientConnection,
    pub(crate) server: ServerConnection,
}

/// How a handshake ended at both ends: with the peer's name, or what it failed of.
pub(crate) struct Ends {
    pub(crate) client: Result<String, Error>,
    pub(crate) server: Result<String, Error>,
}

impl Ends {
    /// What both ends tell their users.
    pub(crate) fn refusals(self) -> (String, String) {
        let told = |end: Result<String, Error>| {
            end.map_or_else(|error| crate::explain(&error), |name| format!("{name} passed"))
        };
        (told(self.client), told(self.server))
    }
}

/// A handshake of two identities, the client of which means the node `to`.
pub(crate) fn shake(client: &Identity, server: &Identity, to: &str) -> (Pair, Ends) {
    shake_with(client.client_config(), server.server_config(), to)
}

pub(crate) fn shake_with(client: ClientConfig, server: ServerConfig, to: &str) -> (Pair, Ends) {
    let client = ClientConnection::new(Arc::new(client), server_name(to).unwrap()).unwrap();
    let mut pair = Pair { client, server: ServerConnection::new(Arc::new(server)).unwrap() };
    let (mut client, mut server) = (Ok(()), Ok(()));
    // An end that fails still has an alert to send, which the other end then has to read.
    for _ in 0..8 {
        let mut bytes = Vec::new();
        while pair.client.wants_write() {
            pair.client.write_tls(&mut bytes).unwrap();
        }
        pair.server.read_tls(&mut &bytes[..]).unwrap();
        server = server.and_then(|()| pair.server.process_new_packets().map(|_| ()));
        let mut bytes = Vec::new();
        while pair.server.wants_write() {
            pair.server.write_tls(&mut bytes).unwrap();
        }
        pair.client.read_tls(&mut &bytes[..]).unwrap();
        client = client.and_then(|()| pair.client.process_new_packets().map(|_| ()));
    }
    let name = |chain: Option<&[rustls::pki_types::CertificateDer<'static>]>| peer_name(&chain.unwrap()[0]).unwrap();
    let ends = Ends {
        client: client.map(|()| name(pair.client.peer_certificates())),
        server: server.map(|()| name(pair.server.peer_certificates())),
    };
    (pair, ends)
}

impl Pair {
    /// Says something both ways.
    pub(crate) fn talk(&mut self) {
        use std::io::{Read, Write};
        let mut bytes = Vec::new();
        self.client.writer().write_all(b"to the server").unwrap();
        self.client.write_tls(&mut bytes).unwrap();
        self.server.read_tls(&mut &bytes[..]).unwrap();
        self.server.process_new_packets().unwrap();
        let mut heard = [0; 13];
        self.server.reader().read_exact(&mut heard).unwrap();
        bytes.clear();
        self.server.writer().write_all(&heard).unwrap();
        self.server.write_tls(&mut bytes).unwrap();
        self.client.read_tls(&mut &bytes[..]).unwrap();
        self.client.process_new_packets().unwrap();
        self.client.reader().read_exact(&mut heard).unwrap();
        assert_eq!(&heard, b"to the server");
    }
}
