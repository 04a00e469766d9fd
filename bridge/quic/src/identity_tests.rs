//! What can be wrong with a node's files, each told by name.

use super::*;
use crate::authority::{Authority, Validity, new_key, self_signed};
use crate::certs::Existing;
use crate::revoke::revoke;
use crate::testing::{Place, chmod, in_days, put_pair};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, KeyPair};
use std::fs;
use time::{Duration, OffsetDateTime};

fn refused(files: &IdentityFiles) -> String {
    Identity::load(files.clone()).unwrap_err().to_string()
}

/// Signs what `change` makes of a usual certificate.
fn signed(place: &Place, files: &IdentityFiles, names: &[&str], change: impl FnOnce(&mut CertificateParams)) {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    change(&mut params);
    let key = new_key().unwrap();
    let certificate = params.signed_by(&key, &Authority::open(&place.path("a")).unwrap().issuer).unwrap();
    put_pair(files, &certificate, &key);
}

#[test]
fn an_identity_knows_its_name_and_how_long_it_is_valid() {
    let place = Place::new();
    let identity = place.identity("paris");
    assert_eq!((&*identity.name(), identity.is_signed_by_its_authorities()), ("paris", true));
    let days = (identity.valid_until_unix_s() - OffsetDateTime::now_utc().unix_timestamp()) / 86_400;
    assert!((396..=397).contains(&days), "{days}");
}

#[test]
fn files_that_are_missing_or_hold_something_else_are_named() {
    let place = Place::new();
    let files = place.files("paris");
    let nowhere = place.path("nowhere");
    let missing = "nowhere: there is no such file";
    assert!(refused(&IdentityFiles { certificate: nowhere.clone(), ..files.clone() }).ends_with(missing));
    assert!(refused(&IdentityFiles { key: nowhere.clone(), ..files.clone() }).ends_with(missing));
    assert!(refused(&IdentityFiles { authorities: nowhere.clone(), ..files.clone() }).ends_with(missing));
    assert!(refused(&IdentityFiles { revoked: Some(nowhere), ..files.clone() }).ends_with(missing));
    let certificate = IdentityFiles { certificate: files.key.clone(), ..files.clone() };
    assert!(refused(&certificate).contains("paris.key: there is no certificate in it"));
    let key = place.path("key");
    fs::copy(&files.certificate, &key).unwrap();
    chmod(&key, 0o600);
    let without_key = IdentityFiles { key: key.clone(), ..files.clone() };
    assert!(refused(&without_key).contains("key: there is no private key in it"));
    fs::write(&key, "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n").unwrap();
    assert!(refused(&without_key).contains("key: the key is encrypted"));
    fs::write(&key, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n").unwrap();
    assert!(refused(&without_key).contains("key: the key can't be used"));
    let list = IdentityFiles { revoked: Some(files.certificate.clone()), ..files.clone() };
    assert!(refused(&list).contains("paris.pem: there is no list of revoked certificates in it"));
    fs::write(&files.certificate, "-----BEGIN CERTIFICATE-----\nno base64!\n-----END CERTIFICATE-----\n").unwrap();
    assert!(refused(&files).contains("paris.pem: can't make it out"));
    assert!(refused(&IdentityFiles { certificate: place.path(""), ..files }).contains("can't read it"));
}

#[test]
fn a_key_that_others_may_read_is_refused_with_its_mode() {
    let place = Place::new();
    let files = place.files("paris");
    for mode in [0o640, 0o604, 0o620, 0o660, 0o644] {
        chmod(&files.key, mode);
        let text = refused(&files);
        assert!(text.contains("paris.key: others than its owner") && text.contains(&format!("{mode:o}")), "{text}");
    }
    for mode in [0o600, 0o400] {
        chmod(&files.key, mode);
        Identity::load(files.clone()).unwrap();
    }
}

#[test]
fn another_users_key_may_be_read_by_a_group_but_not_by_others() {
    let place = Place::new();
    let files = place.files("paris");
    // Only root gives files away.
    if std::os::unix::fs::chown(&files.key, Some(1), None).is_err() {
        return;
    }
    chmod(&files.key, 0o640);
    Identity::load(files.clone()).unwrap();
    chmod(&files.key, 0o644);
    assert!(refused(&files).contains("paris.key: others than its owner"));
}

#[test]
fn a_key_of_another_certificate_is_refused_with_both_files() {
    let place = Place::new();
    let (paris, oslo) = (place.files("paris"), place.files("oslo"));
    let text = refused(&IdentityFiles { key: oslo.key, ..paris });
    assert!(
        text.contains("oslo.key: this key is not the one of the certificate in") && text.contains("paris.pem"),
        "{text}"
    );
}

#[test]
fn a_certificate_outside_its_time_is_refused_with_the_date() {
    let place = Place::new();
    let files = place.files("paris");
    let until = crate::describe(&files.certificate).unwrap()[0].valid_until_unix_s;
    let error = Identity::load_at(files.clone(), in_days(398)).unwrap_err().to_string();
    assert!(error.contains(&format!("paris.pem: the certificate expired on {}", utc(until))), "{error}");
    let error = Identity::load_at(files, in_days(-1)).unwrap_err().to_string();
    assert!(error.contains("paris.pem: the certificate is valid from ") && error.contains("clock"), "{error}");
}

#[test]
fn a_certificate_that_names_no_node_or_two_is_refused() {
    let place = Place::new();
    let files = place.files("paris");
    for (names, words) in [
        (&["bridge.example.com"][..], "names no node"),
        (&[], "names no node"),
        (&["10.0.0.1"], "names no node"),
        (&["a.memlane", "b.memlane"], "names two nodes, a and b"),
        (&["*.memlane"], "can't be a node's name"),
        (&["a.b.memlane"], "can't be a node's name"),
    ] {
        signed(&place, &files, names, |_| ());
        assert!(refused(&files).contains(words), "{}", refused(&files));
    }
    signed(&place, &files, &["paris.memlane", "bridge.example.com"], |_| ());
    assert_eq!(Identity::load(files).unwrap().name(), "paris");
}

#[test]
fn a_certificate_for_one_side_only_is_refused() {
    let place = Place::new();
    let files = place.files("paris");
    for purpose in [ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth] {
        signed(&place, &files, &["paris.memlane"], |params| params.extended_key_usages = vec![purpose]);
        let text = refused(&files);
        assert!(text.contains("peers wouldn't take this") && text.contains("serverAuth, clientAuth"), "{text}");
    }
    // Without any, it is for everything.
    signed(&place, &files, &["paris.memlane"], |params| params.extended_key_usages.clear());
    Identity::load(files).unwrap();
}

#[test]
fn keys_of_other_kinds_do_too() {
    let place = Place::new();
    let files = place.files("paris");
    for kind in [&rcgen::PKCS_ED25519, &rcgen::PKCS_ECDSA_P384_SHA384] {
        let key = KeyPair::generate_for(kind).unwrap();
        let now = OffsetDateTime::now_utc();
        let validity = Validity { begin: now - Duration::DAY, end: now + Duration::DAY };
        let certificate = Authority::open(&place.path("a")).unwrap().sign("paris", &[], &key, validity).unwrap();
        put_pair(&files, &certificate, &key);
        Identity::load(files.clone()).unwrap();
    }
}

#[test]
fn authorities_must_be_some_and_one_must_be_valid() {
    let place = Place::new();
    let files = place.files("paris");
    let text = refused(&IdentityFiles { authorities: files.certificate.clone(), ..files.clone() });
    assert!(text.contains("the certificate of paris in it isn't an authority's"), "{text}");
    let now = OffsetDateTime::now_utc();
    let validity = Validity { begin: now - Duration::days(9), end: now - Duration::DAY };
    let expired = self_signed("old", &new_key().unwrap(), validity).unwrap().pem();
    let good = fs::read_to_string(&files.authorities).unwrap();
    fs::write(&files.authorities, &expired).unwrap();
    let text = refused(&files);
    assert!(
        text.contains("none of the authorities in it is valid any more")
            && text.contains(&utc(validity.end.unix_timestamp())),
        "{text}"
    );
    fs::write(&files.authorities, expired + &good).unwrap();
    assert!(Identity::load(files).unwrap().is_signed_by_its_authorities());
}

#[test]
fn the_own_authority_need_not_be_believed_here() {
    let place = Place::new();
    let other = place.authority("b").join("authority.pem");
    let identity = Identity::load(IdentityFiles { authorities: other, ..place.files("paris") }).unwrap();
    assert!(!identity.is_signed_by_its_authorities());
}

#[test]
fn a_list_that_a_stranger_signed_in_the_authoritys_name_is_refused() {
    let place = Place::new();
    let files = place.files("paris");
    let name = crate::describe(&files.authorities).unwrap().swap_remove(0).subject;
    // The same name, another key.
    let stranger = place.authority("b");
    let now = OffsetDateTime::now_utc();
    let (key, validity) = (new_key().unwrap(), Validity { begin: now - Duration::DAY, end: now + Duration::DAY });
    let certificate = self_signed(&name, &key, validity).unwrap();
    fs::write(stranger.join("authority.pem"), certificate.pem()).unwrap();
    fs::write(stranger.join("authority.key"), key.serialize_pem()).unwrap();
    let list = revoke(&stranger, std::slice::from_ref(&files.certificate)).unwrap().list;
    let text = refused(&IdentityFiles { revoked: Some(list), ..files });
    assert!(text.contains("revoked.pem: the list of revoked certificates can't be used"), "{text}");
}

#[test]
fn a_reload_with_a_bad_file_changes_nothing_and_says_what_is_wrong() {
    let place = Place::new();
    let files = place.files("paris");
    let identity = Identity::load(files.clone()).unwrap();
    let before = identity.shared.now();
    fs::write(&files.key, "gone").unwrap();
    let error = identity.reload().unwrap_err().to_string();
    assert!(error.contains("paris.key: there is no private key in it"), "{error}");
    // Half of a renewal: the key is new, the certificate isn't yet.
    fs::write(&files.key, new_key().unwrap().serialize_pem()).unwrap();
    assert!(matches!(identity.reload(), Err(IdentityError::KeyDoesNotFit { .. })));
    let oslo = place.files("oslo");
    fs::copy(oslo.certificate, &files.certificate).unwrap();
    fs::copy(oslo.key, &files.key).unwrap();
    let error = identity.reload().unwrap_err().to_string();
    assert!(error.contains("this certificate is the node oslo's, and this node is paris"), "{error}");
    assert!(Arc::ptr_eq(&before, &identity.shared.now()));
    fs::remove_file(&files.certificate).unwrap();
    fs::remove_file(&files.key).unwrap();
    let renewed = place.node_of("a", "paris", Existing::Refuse);
    assert_eq!(renewed, files);
    identity.reload().unwrap();
    assert!(!Arc::ptr_eq(&before, &identity.shared.now()));
}
