//! The configuration to begin with: every key, with a word on it.

/// It passes the check as it is; what is commented out with `#` and no blank behind it may be taken in.
const TEMPLATE: &str = include_str!("default.toml");
const NAME: &str = "name = \"node-1\"";

/// A commented configuration, with the name of this host for that of the node, as far as it can be one. It passes the check.
#[must_use]
pub fn template() -> String {
    let host = nix::unistd::gethostname().ok().and_then(|host| host.into_string().ok()).unwrap_or_default();
    template_for(&host)
}

fn template_for(host: &str) -> String {
    let host = host.split('.').next().unwrap_or_default();
    let is_plain = |each: &char| each.is_ascii_alphanumeric() || matches!(each, '_' | '-');
    let name: String = host.chars().filter(is_plain).take(40).collect();
    if name.is_empty() {
        return TEMPLATE.to_owned();
    }
    TEMPLATE.replacen(NAME, &format!("name = \"{name}\""), 1)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Config, TOP, bridge, journal, node};

    fn sound(text: &str) -> Config {
        Config::parse(text, Path::new("/etc/memlane/memlane.toml")).unwrap_or_else(|problems| panic!("{problems}"))
    }

    #[test]
    fn the_default_passes_the_check_whatever_the_host_is_called() {
        for (host, name) in [
            ("", "node-1"),
            ("trading-7.example.com", "trading-7"),
            ("ü\"\n", "node-1"),
            (&"x".repeat(64), &"x".repeat(40)),
        ] {
            assert_eq!(sound(&template_for(host)).node.name, name);
        }
        sound(&template());
    }

    #[test]
    fn the_default_passes_the_check_with_all_that_is_commented_out_too() {
        let lines = TEMPLATE.lines().map(|line| match line.strip_prefix('#') {
            Some(rest) if !rest.is_empty() && !rest.starts_with([' ', '#']) => rest,
            _ => line,
        });
        let config = sound(&lines.collect::<Vec<_>>().join("\n"));
        assert!(config.bridge.is_some() && config.journals.len() == 2, "{config:?}");
    }

    #[test]
    fn every_key_that_is_known_is_in_the_default() {
        let (mut head, mut found) = (String::new(), Vec::new());
        for line in TEMPLATE.lines() {
            let line = line.strip_prefix('#').unwrap_or(line);
            if line.starts_with('[') {
                head = line.split_whitespace().next().unwrap_or_default().to_owned();
                found.push(head.clone());
            } else if let Some((key, _)) = line.split_once(" = ") {
                found.push(format!("{head} {key}"));
            }
        }
        let sections = [&node::NODE, &node::LOG, &journal::JOURNAL, &bridge::BRIDGE, &bridge::PEER, &bridge::PULL];
        for keys in sections {
            assert!(found.contains(&keys.section.to_owned()), "{}", keys.section);
            for key in keys.keys {
                let is_section =
                    [format!("[bridge.{key}]"), format!("[[bridge.{key}]]"), format!("[[bridge.peer.{key}]]")];
                let is_there = found.contains(&format!("{} {key}", keys.section));
                assert!(is_there || is_section.iter().any(|head| found.contains(head)), "{} {key}", keys.section);
            }
        }
        for key in TOP.keys {
            assert!(found.contains(&format!("[{key}]")) || found.contains(&format!("[[{key}]]")), "{key}");
        }
    }
}
