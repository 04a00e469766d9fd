//! Certificates of a bridge's nodes: `certs`.

use std::path::Path;
use std::process::Command;

use memlane_bridge_quic::{Identity, IdentityFiles, describe};
use serde_json::json;

use crate::sandbox::Sandbox;

/// Paths in the sandbox, as arguments.
fn paths<const N: usize>(sandbox: &Sandbox, names: [&str; N]) -> [String; N] {
    names.map(|name| sandbox.path().join(name).display().to_string())
}

/// The files of a node that `certs node` made in its own directory.
fn files(directory: &str, node: &str) -> IdentityFiles {
    let path = |name: String| Path::new(directory).join(name);
    IdentityFiles {
        certificate: path(format!("{node}.pem")),
        key: path(format!("{node}.key")),
        authorities: path("authority.pem".to_owned()),
        revoked: None,
    }
}

#[test]
fn an_authority_and_a_node_are_made_and_shown() {
    let sandbox = Sandbox::new();
    let [authority, paris] = paths(&sandbox, ["authority", "paris"]);
    let made = sandbox.json(["certs", "authority", &authority, "--json"]);
    assert!(made["authority"] == true && made["self_signed"] == true, "{made}");
    let arguments = ["certs", "node", "paris", "--authority", &authority, "--to", &paris];
    let hosts = ["--host", "bridge.example.com", "--host", "10.0.0.7", "--days", "30"];
    let text = String::from_utf8(sandbox.output([&arguments[..], &hosts].concat())).unwrap();
    for line in ["node         paris", "hosts        bridge.example.com, 10.0.0.7", " days left", "paris.key (secret)"]
    {
        assert!(text.contains(line), "{line} in {text}");
    }
    let certificate = format!("{paris}/paris.pem");
    let shown = sandbox.json(["certs", "show", &certificate, "--json"]);
    let shown = &shown["certificates"][0];
    assert_eq!((&shown["node"], &shown["signed_by"]), (&json!("paris"), &made["subject"]));
    assert_eq!(shown["hosts"], json!(["bridge.example.com", "10.0.0.7"]));
    let days = shown["valid_until_unix_s"].as_i64().unwrap() - shown["valid_from_unix_s"].as_i64().unwrap();
    assert_eq!((days / 86_400, shown["sha256"].as_str().unwrap().len()), (30, 95));
    let text = String::from_utf8(sandbox.output(["certs", "show", &certificate])).unwrap();
    assert!(text.starts_with("node       paris\n") && text.contains(shown["sha256"].as_str().unwrap()), "{text}");
    let identity = Identity::load(files(&paris, "paris")).unwrap();
    assert!(identity.name() == "paris" && identity.is_signed_by_its_authorities());
}

#[test]
fn what_is_there_is_renewed_only_when_asked() {
    let sandbox = Sandbox::new();
    let [authority, paris] = paths(&sandbox, ["authority", "paris"]);
    sandbox.output(["certs", "authority", &authority]);
    let arguments = ["certs", "node", "paris", "--authority", &authority, "--to", &paris];
    sandbox.output([&arguments[..], &["--host", "10.0.0.7"]].concat());
    let key = || std::fs::read(Path::new(&paris).join("paris.key")).unwrap();
    let before = key();
    let ended = sandbox.run(arguments);
    assert!(ended.code == 1 && ended.stderr.contains("paris.pem: it is there already"), "{}", ended.stderr);
    let ended = sandbox.run(["certs", "authority", &authority]);
    assert!(ended.code == 1 && ended.stderr.contains("authority.pem: it is there already"), "{}", ended.stderr);
    assert_eq!(sandbox.run([&arguments[..], &["--new-key"]].concat()).code, 2);
    let renewed = sandbox.json([&arguments[..], &["--renew", "--json"]].concat());
    assert_eq!((renewed["hosts"].clone(), key()), (json!(["10.0.0.7"]), before.clone()));
    sandbox.output([&arguments[..], &["--renew", "--new-key"]].concat());
    assert_ne!(key(), before);
    sandbox.output(["certs", "authority", &authority, "--renew", "--days", "10"]);
    let ended = sandbox.run([&arguments[..], &["--renew"]].concat());
    assert!(ended.code == 0 && ended.stderr.contains("ends sooner than asked for"), "{}", ended.stderr);
}

#[test]
fn a_node_is_taken_back_with_all_that_it_ever_had() {
    let sandbox = Sandbox::new();
    let [authority, paris] = paths(&sandbox, ["authority", "paris"]);
    sandbox.output(["certs", "authority", &authority]);
    let arguments = ["certs", "node", "paris", "--authority", &authority, "--to", &paris];
    sandbox.output(arguments);
    sandbox.output([&arguments[..], &["--renew"]].concat());
    let issued = std::fs::read_dir(Path::new(&authority).join("issued")).unwrap();
    let issued: Vec<String> = issued.map(|entry| entry.unwrap().path().display().to_string()).collect();
    let issued: Vec<&str> = issued.iter().map(String::as_str).collect();
    let told = sandbox.json([&["certs", "revoke", "--authority", &authority, "--json"], &issued[..]].concat());
    assert_eq!((told["revoked"].as_array().unwrap().len(), &told["revoked"][0]["subject"]), (2, &json!("paris")));
    let text = String::from_utf8(sandbox.output(["certs", "revoke", issued[0], "--authority", &authority])).unwrap();
    assert!(text.contains("revoked.pem: 2 in all"), "{text}");
    let revoked = Some(Path::new(&authority).join("revoked.pem"));
    let error = Identity::load(IdentityFiles { revoked, ..files(&paris, "paris") }).unwrap_err();
    assert!(error.to_string().contains("this certificate was revoked"), "{error}");
}

#[test]
fn what_is_wrong_with_certificates_is_said_in_a_line_with_what_to_do() {
    let sandbox = Sandbox::new();
    let [authority, nowhere, to] = paths(&sandbox, ["authority", "nowhere", "to"]);
    sandbox.output(["certs", "authority", &authority]);
    let key = format!("{authority}/authority.key");
    let node = |name, from| ["certs", "node", name, "--authority", from, "--to", &to];
    for (arguments, words) in [
        (&node("paris", &nowhere)[..], "there is no authority: `memlane certs authority"),
        (&node("a.b", &authority), "can't be a node's name"),
        (&node("authority", &authority), "can't be called authority"),
        (&[&node("paris", &authority)[..], &["--days", "0"]].concat(), "0 days can't be"),
        (&[&node("paris", &authority)[..], &["--renew"]].concat(), "there is nothing to renew"),
        (&["certs", "show", &nowhere], "nowhere: there is no such file"),
        (&["certs", "show", &key], "there is no certificate in it"),
        (&["certs", "revoke", &key, "--authority", &authority], "there is no certificate in it"),
    ] {
        let ended = sandbox.run(arguments);
        assert_eq!((ended.code, ended.stdout.len(), ended.stderr.lines().count()), (1, 0, 1), "{ended:?}");
        assert!(ended.stderr.contains(words), "{words} in {}", ended.stderr);
    }
    let ended = sandbox.run([&node("paris", &authority)[..], &["--host", "*.example.com"]].concat());
    assert!(ended.code == 2 && ended.stderr.contains("can't be a host"), "{ended:?}");
    assert!(!Path::new(&to).exists(), "nothing was made");
}

/// The commands of a document between the lines "```sh" and "```" that come after `heading`.
fn commands_after(document: &str, heading: &str) -> String {
    let part = document.split_once(heading).expect("the document has the heading").1;
    part.split_once("```sh\n").unwrap().1.split_once("```").unwrap().0.to_owned()
}

#[test]
fn certificates_made_with_openssl_as_the_document_says_are_taken() {
    let sandbox = Sandbox::new();
    if Command::new("openssl").arg("version").output().is_err() {
        return;
    }
    let document = include_str!("../../../../docs/certificates.md");
    let script = format!("set -e\n{}", commands_after(document, "## Certificates of one's own"));
    let shell = Command::new("sh").args(["-c", &script]).current_dir(sandbox.path()).output().unwrap();
    assert!(shell.status.success(), "{}", String::from_utf8_lossy(&shell.stderr));
    let path = |name: &str| sandbox.path().join(name);
    let files = IdentityFiles {
        certificate: path("paris.pem"),
        key: path("paris.key"),
        authorities: path("authority.pem"),
        revoked: None,
    };
    let identity = Identity::load(files).unwrap();
    assert!(identity.name() == "paris" && identity.is_signed_by_its_authorities());
    assert_eq!(describe(&path("paris.pem")).unwrap()[0].hosts, ["bridge.example.com"]);
    // An authority of openssl's signs with `memlane certs` too.
    let [here, oslo] = paths(&sandbox, [".", "oslo"]);
    sandbox.output(["certs", "node", "oslo", "--authority", &here, "--to", &oslo]);
    let oslo = Identity::load(self::files(&oslo, "oslo")).unwrap();
    assert!(oslo.is_signed_by_its_authorities());
}

#[test]
fn openssl_takes_what_certs_makes() {
    let sandbox = Sandbox::new();
    if Command::new("openssl").arg("version").output().is_err() {
        return;
    }
    let [authority, paris] = paths(&sandbox, ["authority", "paris"]);
    sandbox.output(["certs", "authority", &authority]);
    sandbox.output(["certs", "node", "paris", "--authority", &authority, "--to", &paris]);
    sandbox.output(["certs", "node", "oslo", "--authority", &authority, "--to", &paris]);
    let [ca, one, other] = ["authority.pem", "paris.pem", "oslo.pem"].map(|name| format!("{paris}/{name}"));
    sandbox.output(["certs", "revoke", &other, "--authority", &authority]);
    let list = format!("{authority}/revoked.pem");
    let verify = |purpose: &str, node: &str, file: &str| {
        let mut command = Command::new("openssl");
        command.args(["verify", "-x509_strict", "-purpose", purpose, "-verify_hostname", &format!("{node}.memlane")]);
        command.args(["-crl_check", "-CRLfile", &list, "-CAfile", &ca, file]).output().unwrap()
    };
    for purpose in ["sslserver", "sslclient"] {
        let output = verify(purpose, "paris", &one);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let output = verify("sslserver", "oslo", &other);
    assert!(String::from_utf8_lossy(&output.stderr).contains("certificate revoked"), "{output:?}");
    let key = Command::new("openssl").args(["pkey", "-noout", "-in", &format!("{paris}/paris.key")]).status().unwrap();
    assert!(key.success());
}
