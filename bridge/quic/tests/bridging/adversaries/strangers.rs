//! Those who have no certificate, or a bad one; and what isn't QUIC.

use crate::liar::Mask;
use crate::scene::{Scene, beside};
use crate::world::until;
use memlane_bridge_quic::{
    ALPN, BridgeOptions, Existing, IdentityFiles, NodeRequest, Refusal, Transport, make_authority, make_node, provider,
};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Endpoint};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Believes whomever it meets.
#[derive(Debug)]
struct Believer;

impl ServerCertVerifier for Believer {
    fn verify_server_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

/// Who shows these certificates, and speaks this protocol.
fn shows(chain: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>, protocol: &[u8]) -> ClientConfig {
    let builder = rustls::ClientConfig::builder_with_provider(provider());
    let builder = builder.with_protocol_versions(&[&rustls::version::TLS13]).unwrap();
    let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(Believer));
    let mut config = match chain {
        Some((chain, key)) => builder.with_client_auth_cert(chain, key).unwrap(),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![protocol.to_vec()];
    ClientConfig::new(Arc::new(QuicClientConfig::try_from(config).unwrap()))
}

fn from_files(certificate: &Path, key: &Path) -> Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
    let chain = CertificateDer::pem_file_iter(certificate).unwrap().collect::<Result<_, _>>().unwrap();
    Some((chain, PrivateKeyDer::from_pem_file(key).unwrap()))
}

/// A certificate of the authority in this directory with these names, valid for these days from now.
fn signed(
    authority: &Path,
    names: &[&str],
    days: (i64, i64),
) -> Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
    let read = |name: &str| std::fs::read_to_string(authority.join(name)).unwrap();
    let key = rcgen::KeyPair::from_pem(&read("authority.key")).unwrap();
    let issuer = rcgen::Issuer::from_ca_cert_pem(&read("authority.pem"), key).unwrap();
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = rcgen::CertificateParams::new(names).unwrap();
    let now = time::OffsetDateTime::now_utc();
    (params.not_before, params.not_after) = (now + time::Duration::days(days.0), now + time::Duration::days(days.1));
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap();
    Some((vec![certificate.der().clone()], PrivateKeyDer::try_from(key.serialize_der()).unwrap()))
}

impl Scene {
    fn authority(&self) -> PathBuf {
        self.world.path("authority")
    }

    /// Whoever connects with this configuration is refused for this reason.
    async fn refuses(&mut self, client: ClientConfig, refusal: Refusal, text: &str) {
        let mask = Mask { name: "mallory".to_owned(), address: self.address, client };
        // The client may take the connection for made, and is then told.
        if let Ok((_endpoint, quic)) = mask.connect().await {
            quic.closed().await;
        }
        self.until_refused(refusal, text).await;
        assert!(self.bridge.status().peer("mallory").is_none(), "it is no peer");
    }
}

#[tokio::test]
async fn who_has_no_certificate_or_a_bad_one_is_refused_with_the_reason() {
    let mut scene = Scene::new().await;
    scene.refuses(shows(None, ALPN), Refusal::NoCertificate, "isn't shown").await;
    let other = scene.world.path("other");
    make_authority(&other, 30).unwrap();
    let request = NodeRequest { node: "mallory".to_owned(), hosts: Vec::new(), days: 30, existing: Existing::Refuse };
    let made = make_node(&request, &other, &other.join("nodes")).unwrap();
    let stranger = shows(from_files(&made.certificate, &made.key), ALPN);
    scene.refuses(stranger, Refusal::OtherAuthority, "wasn't signed by an authority that this end believes").await;
    let own = scene.authority();
    let expired = shows(signed(&own, &["mallory.memlane"], (-9, -2)), ALPN);
    scene.refuses(expired, Refusal::Expired, "has expired").await;
    let nobody = shows(signed(&own, &["www.example.com"], (-9, 9)), ALPN);
    scene.refuses(nobody, Refusal::BadCertificate, "names no node").await;
    let two = shows(signed(&own, &["mallory.memlane", "osaka.memlane"], (-9, 9)), ALPN);
    scene.refuses(two, Refusal::BadCertificate, "names no node, or more than one").await;
    let good = scene.world.node("eve");
    let chain = from_files(&good.files.certificate, &good.files.key);
    scene.refuses(shows(chain, b"h3"), Refusal::OtherProtocol, "doesn't speak memlane/1").await;
    scene.end().await;
}

#[tokio::test]
async fn handshakes_that_are_refused_as_fast_as_they_come_are_counted_and_write_a_line_a_second() {
    let mut scene = Scene::new().await;
    let mask = Mask { name: "mallory".to_owned(), address: scene.address, client: shows(None, ALPN) };
    let before = scene.log_lines();
    let attack = beside(move || async move {
        for _ in 0..150 {
            if let Ok((_endpoint, quic)) = mask.connect().await {
                quic.closed().await;
            }
        }
    });
    let refused = |status: &memlane_bridge_quic::BridgeStatus| {
        status.refused(Refusal::NoCertificate) + status.refused(Refusal::TooMany)
    };
    let begun = Instant::now();
    scene.until("150 refusals", |status| refused(status) >= 150).await;
    attack.join().unwrap();
    let lines = scene.log_lines() - before;
    // One for each of the two reasons and second that has begun.
    assert!(lines as u64 <= 2 * (begun.elapsed().as_secs() + 2), "{lines} lines");
    scene.end().await;
}

/// What a client says first, to somebody who doesn't answer.
async fn first_datagrams(client: ClientConfig) -> Vec<Vec<u8>> {
    let sink = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    sink.set_nonblocking(true).unwrap();
    let endpoint = Endpoint::client(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
    let _connecting = endpoint.connect_with(client, sink.local_addr().unwrap(), "tokyo.memlane").unwrap();
    let mut datagrams = Vec::new();
    until("a client's first datagrams", || {
        let mut bytes = vec![0; 2048];
        while let Ok(length) = sink.recv(&mut bytes) {
            datagrams.push(bytes[..length].to_vec());
        }
        !datagrams.is_empty()
    })
    .await;
    datagrams
}

#[tokio::test]
async fn first_packets_that_are_replayed_cut_or_changed_begin_nothing_that_lasts() {
    let mut scene = Scene::new().await;
    let identity = scene.world.node("mallory").identity;
    let first = first_datagrams(Transport::default().client(&identity).unwrap()).await;
    let address = scene.address;
    let sockets: Vec<_> = (0..40).map(|_| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()).collect();
    // Each from a port of its own begins a handshake that nobody goes on with.
    for socket in &sockets {
        for datagram in &first {
            socket.send_to(datagram, address).unwrap();
        }
    }
    scene.until_refused(Refusal::Silent, "to shake hands").await;
    for (length, flip) in [(1199, 0), (600, 0), (21, 0), (1, 0), (1200, 1100), (1200, 30), (1200, 5)] {
        let mut datagram = first[0][..length].to_vec();
        // Another number of its connection, so that it isn't taken for a copy of the first.
        if length > 20 {
            datagram[8] ^= 0x55;
        }
        datagram.get_mut(flip).filter(|_| flip > 0).into_iter().for_each(|byte| *byte ^= 0xff);
        sockets[0].send_to(&datagram, address).unwrap();
    }
    scene.until("strays", |status| status.stray_datagrams >= 4).await;
    scene.assert_told("datagrams come that belong to no connection");
    // With other numbers of their connections they are for other keys: what seems to begin one doesn't.
    for number in 0..=255 {
        let mut datagram = first[0].clone();
        datagram[7] ^= number;
        sockets[0].send_to(&datagram, address).unwrap();
    }
    scene.until_refused(Refusal::Garbage, "refused").await;
    assert!(scene.bridge.status().peer("mallory").is_none());
    scene.end().await;
}

#[tokio::test]
async fn a_flood_of_garbage_on_the_port_is_dropped_and_counted() {
    let mut scene = Scene::new().await;
    let address = scene.address;
    let before = scene.log_lines();
    let flood = std::thread::spawn(move || {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let (begun, mut random, mut sent) = (Instant::now(), 88_172_645_463_325_252_u64, 0_u64);
        let mut bytes = [0_u8; 1400];
        while sent < 100_000 && begun.elapsed() < Duration::from_secs(3) {
            // Xorshift64 (Marsaglia, 2003).
            for chunk in bytes.chunks_exact_mut(8) {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                chunk.copy_from_slice(&random.to_le_bytes());
            }
            let length = 1 + (random % 1400) as usize;
            sent += u64::from(socket.send_to(&bytes[..length], address).is_ok());
        }
        sent
    });
    while !flood.is_finished() {
        scene.goes_on().await;
    }
    assert!(flood.join().unwrap() > 1_000);
    scene.until("strays", |status| status.stray_datagrams > 1_000).await;
    scene.assert_told("datagrams come that belong to no connection");
    assert!(scene.log_lines() - before < 30, "not a line for each");
    scene.end().await;
}

#[tokio::test]
async fn one_that_connects_again_and_again_is_slowed_down_and_only_its_own_links_suffer() {
    let transport = Transport { handshakes_per_second: 10, ..Transport::default() };
    let mut scene = Scene::with(BridgeOptions { transport, ..BridgeOptions::default() }).await;
    let mask = scene.mask("mallory");
    let attack = beside(move || async move {
        let (mut taken, mut last) = (0, None);
        for _ in 0..200 {
            if let Ok(connected) = mask.connect().await {
                taken += 1;
                last = Some(connected);
            }
        }
        drop(last);
        taken
    });
    scene.until("refusals", |status| status.refused(Refusal::TooMany) > 20).await;
    scene.assert_told("connects too often");
    while !attack.is_finished() {
        scene.goes_on().await;
    }
    let taken = attack.join().unwrap();
    assert!((1..200).contains(&taken), "{taken} of 200 were let in");
    scene.until("the end of its links", |status| status.peer("mallory").is_some_and(|peer| peer.link.is_none())).await;
    scene.end().await;
}

#[tokio::test]
async fn of_two_connections_with_one_certificate_the_later_one_lasts() {
    let mut scene = Scene::new().await;
    let mask = scene.mask("mallory");
    let first = mask.greet().await;
    let mut second = mask.greet().await;
    assert!(first.is_left().await.to_string().contains("another connection took its place"));
    scene.until_refused(Refusal::Replaced, "was still there when it came from").await;
    scene.tokyo.topic("open.a");
    second.say(&crate::liar::want(1, memlane_bridge_quic::Mode::Reliable, "open.a")).await;
    let is_offer = |message: &memlane_bridge_protocol::Control| {
        matches!(message, memlane_bridge_protocol::Control::Open(_)).then_some(())
    };
    second.hear_out(is_offer).await;
    let status = scene.bridge.status();
    let peer = status.peer("mallory").unwrap();
    assert_eq!((peer.links, peer.link.as_ref().map(|link| link.is_ours)), (2, Some(false)));
    scene.end().await;
}

#[tokio::test]
async fn a_revoked_peer_is_refused() {
    let mut scene = Scene::new().await;
    let node = scene.world.node("mallory");
    let list = scene.authority().join("revoked.pem");
    memlane_bridge_quic::revoke(&scene.authority(), std::slice::from_ref(&node.files.certificate)).unwrap();
    let files = IdentityFiles { revoked: Some(list), ..scene.tokyo.files.clone() };
    let kyoto = scene.world.with_files("kyoto", files);
    let (bridge, address) = kyoto.listen(crate::world::open_to_all()).await;
    let chain = from_files(&node.files.certificate, &node.files.key);
    let mask = Mask { name: "mallory".to_owned(), address, client: shows(chain, ALPN) };
    if let Ok((_endpoint, quic)) = mask.connect().await {
        quic.closed().await;
    }
    scene.until("the refusal", |_| bridge.status().refused(Refusal::Revoked) == 1).await;
    scene.assert_told("was revoked");
    scene.end().await;
}
