//! Certificates that change while links live.

use crate::world::{Arrivals, World, connects_to, open_to_all, publish, until};
use memlane_bridge_quic::{Existing, Identity, IdentityFiles, NodeRequest, Refusal, make_node, revoke};
use std::sync::Arc;

#[tokio::test]
async fn links_go_on_when_an_identity_is_reloaded_and_new_ones_use_the_new_certificate() {
    let world = World::new();
    let (tokyo, osaka) = (world.node("tokyo"), world.node("osaka"));
    let mut publisher = tokyo.topic("t").publisher::<[u8]>().open().unwrap();
    let (listening, address) = tokyo.listen(open_to_all()).await;
    let connecting = osaka.start(connects_to("tokyo", address, &["t"], &[])).await;
    publish(&mut publisher, 0..100);
    let mut arrivals = Arrivals::of(&osaka, "t").await;
    arrivals.wait_for(100).await;
    let since = |peer: &str| listening.status().peer(peer).unwrap().link.clone().unwrap().since_unix_ns;
    let before = since("osaka");
    // Tokyo gets a new certificate with a new key, and takes osaka's old one back.
    let request = NodeRequest { node: "tokyo".to_owned(), hosts: Vec::new(), days: 20, existing: Existing::NewKey };
    make_node(&request, &world.path("authority"), &world.path("certificates")).unwrap();
    revoke(&world.path("authority"), std::slice::from_ref(&osaka.files.certificate)).unwrap();
    let shown = |node: &crate::world::Node| {
        let config = memlane_bridge_quic::Transport::default().client(&node.identity).unwrap();
        let endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
        async move {
            let quic = endpoint.connect_with(config, address, "tokyo.memlane").unwrap().await.unwrap();
            let chain = quic.peer_identity().unwrap();
            let chain = chain.downcast::<Vec<rustls::pki_types::CertificateDer<'static>>>().unwrap();
            chain[0].clone()
        }
    };
    let kyoto = world.node("kyoto");
    let old = shown(&kyoto).await;
    tokyo.identity.reload().unwrap();
    let new = shown(&kyoto).await;
    assert_ne!(old, new, "a new handshake shows the new certificate");
    publish(&mut publisher, 100..200);
    arrivals.wait_for(200).await;
    assert_eq!(since("osaka"), before, "the link is the same");
    assert_eq!(listening.status().peer("osaka").unwrap().links, 1);
    // One that comes anew does so with the new certificate.
    connecting.close().await;
    let _connecting = osaka.start(connects_to("tokyo", address, &["t"], &[])).await;
    publish(&mut publisher, 200..300);
    arrivals.wait_for(300).await;
    assert_eq!(arrivals.numbers, (0..300).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_revoked_peer_keeps_its_link_and_is_refused_when_it_comes_again() {
    let world = World::new();
    let (tokyo, osaka) = (world.node("tokyo"), world.node("osaka"));
    let bern = world.node("bern");
    revoke(&world.path("authority"), &[bern.files.certificate]).unwrap();
    let list = Some(world.path("authority").join("revoked.pem"));
    let files = IdentityFiles { revoked: list, ..tokyo.files.clone() };
    let tokyo = crate::world::Node { identity: Arc::new(Identity::load(files).unwrap()), ..tokyo };
    let mut publisher = tokyo.topic("t").publisher::<[u8]>().open().unwrap();
    let (listening, address) = tokyo.listen(open_to_all()).await;
    let connecting = osaka.start(connects_to("tokyo", address, &["t"], &[])).await;
    publish(&mut publisher, 0..100);
    let mut arrivals = Arrivals::of(&osaka, "t").await;
    arrivals.wait_for(100).await;
    revoke(&world.path("authority"), std::slice::from_ref(&osaka.files.certificate)).unwrap();
    tokyo.identity.reload().unwrap();
    publish(&mut publisher, 100..200);
    arrivals.wait_for(200).await;
    assert!(listening.is_connected("osaka"), "connections that there are it doesn't cut");
    connecting.close().await;
    let _connecting = osaka.start(connects_to("tokyo", address, &["t"], &[])).await;
    until("the refusal", || listening.status().refused(Refusal::Revoked) > 0).await;
    assert!(!listening.is_connected("osaka"));
    publish(&mut publisher, 200..300);
    // With a new certificate it comes in again, and has missed nothing.
    let request = NodeRequest { node: "osaka".to_owned(), hosts: Vec::new(), days: 20, existing: Existing::NewKey };
    make_node(&request, &world.path("authority"), &world.path("certificates")).unwrap();
    osaka.identity.reload().unwrap();
    arrivals.wait_for(300).await;
    assert_eq!(arrivals.numbers, (0..300).collect::<Vec<_>>());
}
