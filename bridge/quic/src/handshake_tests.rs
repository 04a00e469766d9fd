//! Handshakes in memory: who agrees, who is refused, and what each end is told.

use crate::certs::Existing;
use crate::identity::{ALPN, Identity, IdentityFiles};
use crate::name::{peer_name, server_name};
use crate::revoke::revoke;
use crate::testing::{Place, in_days, shake, shake_with};
use crate::{RefusedBy, explain, explain_alert};
use rustls::client::ResolvesClientCert;
use rustls::quic::{self, Version};
use rustls::sign::CertifiedKey;
use rustls::{Error, ProtocolVersion, SignatureScheme};
use std::fs;
use std::sync::Arc;

/// Both words must be told, each by its end.
fn assert_refused(refusals: (String, String), at_client: &str, at_server: &str) {
    assert!(refusals.0.contains(at_client), "the client says: {}", refusals.0);
    assert!(refusals.1.contains(at_server), "the server says: {}", refusals.1);
}

#[test]
fn two_nodes_agree_and_each_learns_the_others_name() {
    let place = Place::new();
    for (client, server) in [("paris", "oslo"), ("A-1_b", "_"), ("007", "0x1")] {
        let (mut pair, ends) = shake(&place.identity(client), &place.identity(server), server);
        assert_eq!((ends.client.unwrap(), ends.server.unwrap()), (server.to_owned(), client.to_owned()));
        assert_eq!(pair.client.protocol_version(), Some(ProtocolVersion::TLSv1_3));
        assert_eq!((pair.client.alpn_protocol(), pair.server.alpn_protocol()), (Some(ALPN), Some(ALPN)));
        pair.talk();
    }
}

#[test]
fn each_connection_shows_its_certificate_anew() {
    let place = Place::new();
    let (paris, oslo) = (place.identity("paris"), place.identity("oslo"));
    let (client, server) = (Arc::new(paris.client_config()), Arc::new(oslo.server_config()));
    for _ in 0..3 {
        let (pair, ends) = shake_with((*client).clone(), (*server).clone(), "oslo");
        assert_eq!(ends.client.unwrap(), "oslo");
        assert_eq!(pair.client.handshake_kind(), Some(rustls::HandshakeKind::Full));
    }
}

#[derive(Debug)]
struct ShowsNothing;

impl ResolvesClientCert for ShowsNothing {
    fn resolve(&self, _authorities: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}

#[test]
fn a_client_without_a_certificate_is_refused() {
    let place = Place::new();
    let mut client = place.identity("paris").client_config();
    client.client_auth_cert_resolver = Arc::new(ShowsNothing);
    let (_, ends) = shake_with(client, place.identity("oslo").server_config(), "oslo");
    assert_refused(
        ends.refusals(),
        "this end's certificate isn't shown, and has to be",
        "the peer shows no certificate",
    );
}

#[test]
fn a_node_of_another_authority_is_refused_on_either_side() {
    let place = Place::new();
    let other = place.authority("b");
    let stranger = Identity::load(place.node_of("b", "stranger", Existing::Refuse)).unwrap();
    let (paris, here) = (place.identity("paris"), "no authority that is believed here signed it");
    let there = "this end's certificate wasn't signed by an authority that it believes";
    let (_, ends) = shake(&paris, &stranger, "stranger");
    assert_refused(ends.refusals(), here, there);
    // It believes ours, but we don't believe its own.
    let ours = IdentityFiles {
        authorities: place.path("a").join("authority.pem"),
        ..place.node_of("b", "stranger", Existing::KeepKey)
    };
    let (_, ends) = shake(&Identity::load(ours).unwrap(), &paris, "paris");
    assert_refused(ends.refusals(), there, here);
    // Nodes that believe both authorities get along with either's.
    let both = [place.path("a"), other].map(|path| fs::read(path.join("authority.pem")).unwrap()).concat();
    for node in ["paris", "stranger"] {
        fs::write(place.path(node).join("authority.pem"), &both).unwrap();
    }
    paris.reload().unwrap();
    stranger.reload().unwrap();
    assert_eq!(shake(&paris, &stranger, "stranger").1.server.unwrap(), "paris");
}

#[test]
fn an_expired_certificate_is_refused_on_either_side_with_the_date() {
    let place = Place::new();
    let paris = place.identity("paris");
    let files = place.node_within("oslo", (-9, -2));
    let until = crate::utc(crate::describe(&files.certificate).unwrap()[0].valid_until_unix_s);
    // It was good when it was loaded.
    let oslo = Identity::load_at(files, in_days(-5)).unwrap();
    let (here, there) = (format!("it expired on {until}"), "this end's certificate has expired");
    assert_refused(shake(&paris, &oslo, "oslo").1.refusals(), &here, there);
    assert_refused(shake(&oslo, &paris, "paris").1.refusals(), there, &here);
    let future = Identity::load_at(place.node_within("rome", (2, 9)), in_days(5)).unwrap();
    assert_refused(shake(&paris, &future, "rome").1.refusals(), "are both clocks right?", "or isn't valid yet");
}

#[test]
fn another_node_than_was_meant_is_refused_even_if_only_the_case_differs() {
    let place = Place::new();
    let (paris, oslo) = (place.identity("paris"), place.identity("oslo"));
    let there = "is another node's than was meant";
    assert_refused(shake(&paris, &oslo, "rome").1.refusals(), "it is that of oslo, and rome was meant", there);
    assert_refused(shake(&paris, &oslo, "Oslo").1.refusals(), "it is that of oslo, and Oslo was meant", there);
}

#[test]
fn a_certificate_that_names_no_node_is_refused_though_its_authority_is_believed() {
    let place = Place::new();
    let mut client = place.identity("paris").client_config();
    let authority = crate::authority::Authority::open(&place.path("a")).unwrap();
    let key = crate::authority::new_key().unwrap();
    let params = rcgen::CertificateParams::new(["bridge.example.com".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &authority.issuer).unwrap();
    let signer = crate::provider().key_provider.load_private_key(key.into()).unwrap();
    let shown = CertifiedKey::new(vec![certificate.der().clone()], signer);
    client.client_auth_cert_resolver = Arc::new(rustls::sign::SingleCertAndKey::from(shown));
    let (_, ends) = shake_with(client, place.identity("oslo").server_config(), "oslo");
    assert_refused(ends.refusals(), "names no node, or more than one", "the certificate names no node");
}

#[test]
fn another_protocol_is_refused() {
    let place = Place::new();
    let (paris, oslo) = (place.identity("paris"), place.identity("oslo"));
    let mut client = paris.client_config();
    client.alpn_protocols = vec![b"h3".to_vec()];
    let (_, ends) = shake_with(client, oslo.server_config(), "oslo");
    assert_refused(ends.refusals(), "it doesn't speak memlane/1", "the peer doesn't speak memlane/1");
}

#[test]
fn a_revoked_certificate_is_refused_on_either_side_once_the_list_was_loaded() {
    let place = Place::new();
    let list = revoke(&place.path("a"), &[place.files("rome").certificate]).unwrap().list;
    let paris = Identity::load(IdentityFiles { revoked: Some(list), ..place.files("paris") }).unwrap();
    let oslo = place.files("oslo");
    let identity = Identity::load(oslo.clone()).unwrap();
    let (mut pair, ends) = shake(&identity, &paris, "paris");
    assert_eq!(ends.server.unwrap(), "oslo");
    revoke(&place.path("a"), &[oslo.certificate]).unwrap();
    assert_eq!(shake(&identity, &paris, "paris").1.server.unwrap(), "oslo", "the list wasn't loaded yet");
    paris.reload().unwrap();
    let (here, there) = ("the certificate is refused: it was revoked", "this end's certificate was revoked");
    assert_refused(shake(&identity, &paris, "paris").1.refusals(), there, here);
    assert_refused(shake(&paris, &identity, "oslo").1.refusals(), here, there);
    pair.talk();
    // One with a new certificate comes in again.
    let renewed = Identity::load(place.node_of("a", "oslo", Existing::NewKey)).unwrap();
    assert_eq!(shake(&renewed, &paris, "paris").1.server.unwrap(), "oslo");
    // What an authority without a list signed is no more revoked than before.
    let other = place.authority("b");
    let both = [place.path("a"), other].map(|path| fs::read(path.join("authority.pem")).unwrap()).concat();
    fs::write(place.path("paris/authority.pem"), both).unwrap();
    paris.reload().unwrap();
    let mut files = place.node_of("b", "bern", Existing::Refuse);
    files.authorities = place.path("a").join("authority.pem");
    assert_eq!(shake(&Identity::load(files).unwrap(), &paris, "paris").1.server.unwrap(), "bern");
}

#[test]
fn a_reload_counts_for_new_handshakes_of_configurations_that_were_handed_out() {
    let place = Place::new();
    let (paris, oslo) = (place.identity("paris"), place.identity("oslo"));
    let (client, server) = (paris.client_config(), oslo.server_config());
    let (mut old, ends) = shake_with(client.clone(), server.clone(), "oslo");
    assert_eq!(ends.client.unwrap(), "oslo");
    let shown = |pair: &crate::testing::Pair| pair.client.peer_certificates().unwrap()[0].clone();
    place.node_of("a", "oslo", Existing::NewKey);
    let (before, _) = shake_with(client.clone(), server.clone(), "oslo");
    assert_eq!(shown(&before), shown(&old), "it was not reloaded yet");
    oslo.reload().unwrap();
    let (after, ends) = shake_with(client.clone(), server.clone(), "oslo");
    assert_eq!((ends.client.unwrap(), ends.server.unwrap()), ("oslo".to_owned(), "paris".to_owned()));
    assert_ne!(shown(&after), shown(&old));
    old.talk();
    // The client's side: what it shows, and whom it believes.
    place.node_of("a", "paris", Existing::KeepKey);
    fs::copy(place.authority("b").join("authority.pem"), place.path("paris/authority.pem")).unwrap();
    paris.reload().unwrap();
    let (_, ends) = shake_with(client, server, "oslo");
    assert!(ends.refusals().0.contains("no authority that is believed here signed it"));
    old.talk();
}

/// Hands what each end says in a QUIC handshake to the other, piece by piece, since each is for other keys; until nobody says anything, or one fails.
fn shake_in_quic(client: &mut quic::ClientConnection, server: &mut quic::ServerConnection) -> Result<(), Error> {
    loop {
        let mut is_quiet = true;
        let mut said = Vec::new();
        while client.write_hs(&mut said).is_some() || !said.is_empty() {
            server.read_hs(&said)?;
            (is_quiet, said) = (false, Vec::new());
        }
        while server.write_hs(&mut said).is_some() || !said.is_empty() {
            client.read_hs(&said)?;
            (is_quiet, said) = (false, Vec::new());
        }
        if is_quiet {
            return Ok(());
        }
    }
}

#[test]
fn the_same_holds_in_quic_where_a_protocol_must_be_named() {
    let place = Place::new();
    let (paris, oslo) = (place.identity("paris"), place.identity("oslo"));
    let attempt = |config| {
        let name = server_name("oslo").unwrap();
        let mut client = quic::ClientConnection::new(Arc::new(config), Version::V1, name, Vec::new()).unwrap();
        let mut server = quic::ServerConnection::new(Arc::new(oslo.server_config()), Version::V1, Vec::new()).unwrap();
        let shaken = shake_in_quic(&mut client, &mut server);
        (shaken, client, server)
    };
    let (shaken, client, server) = attempt(paris.client_config());
    shaken.unwrap();
    let name = |chain: Option<&[rustls::pki_types::CertificateDer<'static>]>| peer_name(&chain.unwrap()[0]).unwrap();
    assert_eq!((name(client.peer_certificates()), name(server.peer_certificates())), ("oslo".into(), "paris".into()));
    let mut nameless = paris.client_config();
    nameless.alpn_protocols.clear();
    let (shaken, _, server) = attempt(nameless);
    assert!(explain(&shaken.unwrap_err()).contains("the peer doesn't speak memlane/1"));
    let alert = server.alert().unwrap().into();
    assert!(explain_alert(alert, RefusedBy::Us, "").starts_with("the peer doesn't speak memlane/1"));
    assert!(explain_alert(alert, RefusedBy::Peer, "").starts_with("the peer refuses: it doesn't speak memlane/1"));
}

#[test]
fn an_alert_is_told_by_what_it_means_and_its_reason_does_nothing_to_a_terminal() {
    let unknown = u8::from(rustls::AlertDescription::UnknownCA);
    let text = explain_alert(unknown, RefusedBy::Us, "invalid peer certificate: UnknownIssuer");
    assert!(text.starts_with("the peer's certificate wasn't signed by an authority that this end believes"), "{text}");
    assert!(text.ends_with("(invalid peer certificate: UnknownIssuer)"), "{text}");
    let text = explain_alert(199, RefusedBy::Peer, &"\u{1b}[31m".repeat(999));
    assert!(text.contains("199") && !text.contains('\u{1b}') && text.len() < 1_000, "{text}");
}
