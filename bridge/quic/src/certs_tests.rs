//! Making, renewing and taking back certificates, and what they say.

use super::*;
use crate::describe;
use crate::identity::{Identity, IdentityFiles};
use crate::revoke::{RevokeError, revoke};
use crate::testing::{Place, chmod};
use std::fs;
use std::os::unix::fs::PermissionsExt;

fn request(node: &str) -> NodeRequest {
    NodeRequest { node: node.to_owned(), hosts: Vec::new(), days: NODE_DAYS, existing: Existing::Refuse }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_nodes_certificate_names_it_and_its_hosts_and_who_signed_it() {
    let place = Place::new();
    let hosts = ["bridge.example.com", "10.0.0.7", "fd00::7"].map(|host| host.parse().unwrap()).to_vec();
    let made = make_node(&NodeRequest { hosts, ..request("A-1_b") }, &place.path("a"), &place.path("n")).unwrap();
    let said = describe(&made.certificate).unwrap();
    assert_eq!(said, [made.description]);
    let authority = &describe(&place.path("a").join("authority.pem")).unwrap()[0];
    assert_eq!((said[0].node.as_deref(), &*said[0].subject), (Some("A-1_b"), "A-1_b"));
    assert_eq!(said[0].hosts, ["bridge.example.com", "10.0.0.7", "fd00::7"]);
    assert_eq!(said[0].signed_by, authority.subject);
    assert!(authority.is_authority && authority.is_self_signed && !said[0].is_authority && !said[0].is_self_signed);
    let days = (said[0].valid_until_unix_s - said[0].valid_from_unix_s) / 86_400;
    assert_eq!((days, said[0].fingerprint.len()), (397, 32 * 3 - 1));
}

#[test]
fn keys_are_their_owners_alone_and_certificates_everybodys() {
    let place = Place::new();
    let made = make_node(&request("paris"), &place.path("a"), &place.path("n")).unwrap();
    for path in [&made.key, &place.path("a").join("authority.key")] {
        assert_eq!(mode(path), 0o600, "{}", path.display());
    }
    for path in [&made.certificate, &made.authority] {
        assert_eq!(mode(path) & 0o400, 0o400);
    }
    assert_eq!(mode(&place.path("a")), 0o700);
}

#[test]
fn nothing_that_is_there_is_overwritten_and_the_file_is_named() {
    let place = Place::new();
    let made = make_node(&request("paris"), &place.path("a"), &place.path("n")).unwrap();
    let before = [&made.certificate, &made.key].map(|path| fs::read(path).unwrap());
    let error = make_node(&request("paris"), &place.path("a"), &place.path("n")).unwrap_err().to_string();
    assert!(error.contains("n/paris.pem: it is there already") && error.contains("--renew"), "{error}");
    fs::remove_file(&made.certificate).unwrap();
    let error = make_node(&request("paris"), &place.path("a"), &place.path("n")).unwrap_err().to_string();
    assert!(error.contains("n/paris.key: it is there already"), "{error}");
    assert_eq!(fs::read(&made.key).unwrap(), before[1]);
    let error = make_authority(&place.path("a"), 1).unwrap_err().to_string();
    assert!(error.contains("a/authority.pem: it is there already"), "{error}");
}

#[test]
fn a_renewal_keeps_hosts_and_the_key_unless_a_new_one_is_wanted() {
    let place = Place::new();
    let hosts = vec!["bridge.example.com".parse().unwrap()];
    let first = NodeRequest { hosts, ..request("paris") };
    let old = make_node(&first, &place.path("a"), &place.path("n")).unwrap();
    let key = fs::read(&old.key).unwrap();
    let again = |existing| make_node(&NodeRequest { existing, ..request("paris") }, &place.path("a"), &place.path("n"));
    let kept = again(Existing::KeepKey).unwrap();
    assert_eq!((fs::read(&old.key).unwrap(), &kept.description.hosts), (key.clone(), &old.description.hosts));
    assert_ne!(kept.description.serial, old.description.serial, "or both would be revoked together");
    let renewed = again(Existing::NewKey).unwrap();
    assert_ne!(fs::read(&renewed.key).unwrap(), key);
    assert_eq!(fs::read_dir(place.path("a").join("issued")).unwrap().count(), 3, "a copy of each");
    let error =
        make_node(&NodeRequest { existing: Existing::KeepKey, ..request("oslo") }, &place.path("a"), &place.path("n"));
    assert!(error.unwrap_err().to_string().contains("oslo.pem: there is nothing to renew"));
}

#[test]
fn what_a_renewed_authority_signed_stays_good() {
    let place = Place::new();
    let before = place.identity("paris");
    let old = describe(&place.path("a").join("authority.pem")).unwrap().swap_remove(0);
    let new = renew_authority(&place.path("a"), 20).unwrap().description;
    assert!(new.subject == old.subject && new.valid_until_unix_s < old.valid_until_unix_s);
    let after = place.identity("oslo");
    let (_, ends) = crate::testing::shake(&before, &after, "oslo");
    assert_eq!((ends.client.unwrap(), ends.server.unwrap()), ("oslo".to_owned(), "paris".to_owned()));
    let error = renew_authority(&place.path("paris"), 20).unwrap_err();
    assert!(matches!(error, MakeError::NothingToRenew { .. }), "{error}");
    // A node's own copy is renewed with the node.
    place.node_of("a", "paris", Existing::KeepKey);
    assert_eq!(describe(&place.path("paris/authority.pem")).unwrap(), [new]);
}

#[test]
fn a_certificate_doesnt_outlive_its_authority() {
    let place = Place::new();
    let until = make_authority(&place.path("b"), 10).unwrap().description.valid_until_unix_s;
    let made = make_node(&request("paris"), &place.path("b"), &place.path("n")).unwrap();
    assert!(made.is_cut_short && made.description.valid_until_unix_s == until);
    for days in [0, DAYS_MAX + 1, u32::MAX] {
        let error =
            make_node(&NodeRequest { days, ..request("oslo") }, &place.path("b"), &place.path("n")).unwrap_err();
        assert!(matches!(error, MakeError::Days(_)), "{error}");
    }
}

#[test]
fn a_file_with_another_authority_is_left_and_named() {
    let place = Place::new();
    let other = place.authority("b");
    place.files("paris");
    let error = make_node(&request("oslo"), &other, &place.path("paris")).unwrap_err().to_string();
    assert!(error.contains("paris/authority.pem: another authority is in it"), "{error}");
    assert!(!place.path("paris/oslo.pem").exists() && !place.path("paris/oslo.key").exists());
    // Both may be believed.
    let both = [place.path("a"), other.clone()].map(|path| fs::read(path.join("authority.pem")).unwrap()).concat();
    fs::write(place.path("paris/authority.pem"), &both).unwrap();
    make_node(&request("oslo"), &other, &place.path("paris")).unwrap();
    assert_eq!(fs::read(place.path("paris/authority.pem")).unwrap(), both);
}

#[test]
fn what_cannot_be_a_node_or_a_host_is_refused_with_the_rule() {
    let place = Place::new();
    for node in ["", "a.b", "-a", "authority", "revoked", &"x".repeat(41)] {
        let error = make_node(&request(node), &place.path("a"), &place.path("n")).unwrap_err().to_string();
        assert!(error.contains("can't be"), "{error}");
    }
    for host in ["", "*.example.com", "a b", "paris.memlane", "paris.MEMLANE", "10.0.0.256", "host:80"] {
        let error = host.parse::<Host>().unwrap_err().to_string();
        assert!(error.contains("can't be a host"), "{error}");
    }
    assert!(!place.path("n").exists(), "nothing was made");
}

#[test]
fn an_authority_that_cannot_sign_is_told_with_the_file() {
    let place = Place::new();
    let made = |authority: &str| {
        make_node(&request("paris"), &place.path(authority), &place.path("n")).unwrap_err().to_string()
    };
    assert!(made("nowhere").contains("nowhere: there is no authority: `memlane certs authority"));
    let b = place.authority("b");
    fs::copy(place.path("a").join("authority.pem"), b.join("authority.pem")).unwrap();
    assert!(made("b").contains("b/authority.key: this key is not the one of"));
    chmod(&b.join("authority.key"), 0o644);
    assert!(made("b").contains("b/authority.key: others than its owner may read"));
    fs::remove_file(b.join("authority.key")).unwrap();
    assert!(made("b").contains("b/authority.key: there is no such file"));
    let node = place.files("oslo");
    fs::copy(node.certificate, b.join("authority.pem")).unwrap();
    assert!(made("b").contains("b/authority.pem: this certificate isn't an authority's"));
    fs::write(b.join("authority.pem"), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    assert!(made("b").contains("b/authority.pem: can't make it out"));
}

#[test]
fn certificates_taken_back_are_listed_once_each_and_the_list_grows() {
    let place = Place::new();
    let [paris, oslo] = ["paris", "oslo"].map(|node| place.files(node).certificate);
    let first = revoke(&place.path("a"), std::slice::from_ref(&paris)).unwrap();
    assert_eq!((first.added.len(), &*first.added[0].0, first.total), (1, "paris", 1));
    assert_eq!(first.added[0].1, describe(&paris).unwrap()[0].serial);
    let second = revoke(&place.path("a"), &[paris.clone(), oslo]).unwrap();
    assert_eq!((second.added.len(), &*second.added[0].0, second.total), (1, "oslo", 2));
    let error = Identity::load(IdentityFiles { revoked: Some(second.list), ..files_of(&place, "paris") }).unwrap_err();
    assert!(error.to_string().contains("paris.pem: this certificate was revoked"), "{error}");
}

fn files_of(place: &Place, node: &str) -> IdentityFiles {
    let path = |name: &str| place.path(node).join(name);
    let [certificate, key] = ["pem", "key"].map(|ending| path(&format!("{node}.{ending}")));
    IdentityFiles { certificate, key, authorities: path("authority.pem"), revoked: None }
}

#[test]
fn only_who_signed_a_certificate_takes_it_back() {
    let place = Place::new();
    let other = place.authority("b");
    let paris = place.files("paris").certificate;
    let error = revoke(&other, &[paris]).unwrap_err();
    assert!(matches!(error, RevokeError::NotSignedHere { .. }), "{error}");
    let error = revoke(&other, &[other.join("authority.pem")]).unwrap_err();
    assert!(matches!(error, RevokeError::Itself { .. }), "{error}");
    assert!(!other.join("revoked.pem").exists());
}
