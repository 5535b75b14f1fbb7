//! `[executor]` of the user's config.toml: what runs guests, and where container engines are.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::path::PathBuf;

use serde::Deserialize;

use crate::base::HostPath;
use crate::cli::arguments::ExecutorKind;
use crate::sandbox::docker::{Certificates, Host};

/// The table.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExecutorTable {
    /// What runs guests where the command line does not say.
    #[serde(default)]
    pub kind: Option<ExecutorKind>,
    /// What is said of container engines.
    #[serde(default)]
    pub docker: Engines,
}

/// The container engines of a user.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Engines {
    /// The labels that an engine must have to be used, where the command line does not say.
    #[serde(default)]
    pub labels: Vec<Label>,
    /// The engines, by name; none where the environment says.
    #[serde(default)]
    hosts: Option<Hosts>,
}

impl Engines {
    /// The engines, sorted by name; none where the environment says.
    pub fn hosts(&self) -> Option<Vec<Host>> {
        self.hosts.as_ref().map(|hosts| hosts.0.clone())
    }
}

/// A word that an engine is marked with.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Label(pub String);

impl TryFrom<String> for Label {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match is_word(&text) {
            true => Ok(Self(text)),
            false => Err(format!("`{}` is no label: {WORD}", text.escape_debug())),
        }
    }
}

/// Engines that each have a name and an address of their own.
#[derive(Debug, Deserialize)]
#[serde(try_from = "BTreeMap<String, HostTable>")]
struct Hosts(Vec<Host>);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct HostTable {
    host: Address,
    #[serde(default)]
    certificates: Option<Folder>,
    #[serde(default)]
    slots: Option<NonZeroUsize>,
    #[serde(default)]
    labels: Vec<Label>,
}

impl TryFrom<BTreeMap<String, HostTable>> for Hosts {
    type Error = String;

    fn try_from(tables: BTreeMap<String, HostTable>) -> Result<Self, String> {
        if tables.is_empty() {
            return Err(
                "no engine is named: each has a table `[executor.docker.hosts.NAME]` with \
                        its address, `host`; without `hosts` it is DOCKER_HOST"
                    .to_owned(),
            );
        }
        let mut addresses = BTreeSet::new();
        let mut hosts = Vec::new();
        for (name, HostTable { host: Address(address), certificates, slots, labels }) in tables {
            if !is_word(&name) {
                return Err(format!("`{}` cannot name an engine: {WORD}", name.escape_debug()));
            }
            if certificates.is_some() && !address.starts_with(TCP) {
                return Err(format!("engine `{name}`: `certificates` are for an address `{TCP}…`"));
            }
            if !addresses.insert(address.clone()) {
                return Err(format!("engine `{name}`: another one has its address, `{address}`"));
            }
            hosts.push(Host {
                name,
                address,
                certificates: certificates
                    .map(|Folder(folder)| Certificates::in_folder(&HostPath::new(folder))),
                slots: slots.map(NonZeroUsize::get),
                labels: labels.into_iter().map(|Label(label)| label).collect(),
            });
        }
        Ok(Self(hosts))
    }
}

/// Where an engine listens.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
struct Address(String);

impl TryFrom<String> for Address {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        check_address(&text).map(|()| Self(text))
    }
}

/// A folder with an absolute path: there is none that others could be relative to.
#[derive(Debug, Deserialize)]
#[serde(try_from = "PathBuf")]
struct Folder(PathBuf);

impl TryFrom<PathBuf> for Folder {
    type Error = String;

    fn try_from(path: PathBuf) -> Result<Self, String> {
        match path.is_absolute() {
            true => Ok(Self(path)),
            false => Err(format!("`{}` is no absolute path", path.display())),
        }
    }
}

const UNIX: &str = "unix://";
const TCP: &str = "tcp://";

/// What labels and names of engines are made of: they are said in messages and on command lines.
const WORD: &str = "letters, digits, `.`, `_` and `-`, a letter or digit first";

fn is_word(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && text.len() <= 100
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
}

/// Refuses what is no address of an engine, as config.toml and `DOCKER_HOST` have them.
pub fn check_address(text: &str) -> Result<(), String> {
    let is_plain = !text.chars().any(|c| c.is_control() || c.is_whitespace());
    let is_port = |port: &str| port.parse::<u16>().is_ok_and(|port| port > 0);
    let good = match (text.strip_prefix(UNIX), text.strip_prefix(TCP)) {
        (Some(path), _) => path.starts_with('/') && path.len() > 1,
        (_, Some(place)) => match place.trim_end_matches('/').rsplit_once(':') {
            Some((name, port)) => !name.is_empty() && !name.contains('/') && is_port(port),
            None => false,
        },
        _ => false,
    };
    match good && is_plain {
        true => Ok(()),
        false => Err(format!(
            "`{}` is no address of a container engine: `{UNIX}/PATH` or `{TCP}NAME:PORT` is",
            text.escape_debug()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn read(text: &str) -> Result<ExecutorTable, String> {
        toml::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn engines_are_read_by_name() {
        let table = read(
            "kind = \"docker\"\n[docker]\nlabels = [\"fast\"]\n\
             [docker.hosts.near]\nhost = \"unix:///run/docker.sock\"\n\
             [docker.hosts.far]\nhost = \"tcp://build.example.org:2376\"\n\
             certificates = \"/home/me/.docker\"\nslots = 4\nlabels = [\"fast\", \"big\"]\n",
        );
        let table = table.expect("a table");
        assert_eq!(table.kind, Some(ExecutorKind::Docker));
        assert_eq!(table.docker.labels, [Label("fast".to_owned())]);
        let hosts = table.docker.hosts().expect("engines");
        let [far, near] = hosts.as_slice() else { panic!("{hosts:?}") };
        assert_eq!((far.name.as_str(), near.name.as_str()), ("far", "near"));
        let folder = Certificates::in_folder(&HostPath::new("/home/me/.docker"));
        assert_eq!((&far.certificates, far.slots), (&Some(folder), Some(4)));
        assert_eq!(far.labels, ["fast", "big"]);
        assert_eq!((&near.certificates, near.slots, near.labels.len()), (&None, None, 0));
        let empty = read("").expect("nothing said");
        assert!(empty.kind.is_none() && empty.docker.hosts().is_none());
    }

    #[test]
    fn what_engines_cannot_be_is_told() {
        let host = |more: &str| format!("[docker.hosts.a]\nhost = \"unix:///a\"\n{more}");
        for (text, told) in [
            ("kind = \"podman\"".to_owned(), "expected `native` or `docker`"),
            ("hosts = {}".to_owned(), "unknown field `hosts`"),
            ("[docker.hosts]".to_owned(), "no engine is named"),
            ("[docker.hosts.a]".to_owned(), "missing field `host`"),
            ("[docker.hosts.a]\nhost = \"\"".to_owned(), "no address of a container engine"),
            ("[docker.hosts.\"a b\"]\nhost = \"unix:///a\"".to_owned(), "cannot name an engine"),
            ("[docker]\nlabels = [\"\"]".to_owned(), "no label"),
            (host("slots = 0"), "expected a nonzero"),
            (host("slot = 1"), "unknown field `slot`"),
            (host("certificates = \"/c\""), "are for an address `tcp://"),
            (host("[docker.hosts.b]\nhost = \"unix:///a\""), "another one has its address"),
            (
                "[docker.hosts.a]\nhost = \"tcp://a:1\"\ncertificates = \"c\"".to_owned(),
                "no absolute path",
            ),
        ] {
            let error = read(&text).map(|_| ()).expect_err(&text);
            assert!(error.contains(told), "{text}: {error}");
        }
    }

    #[test]
    fn addresses_are_sockets_or_machines_with_a_port() {
        for good in
            ["unix:///run/docker.sock", "tcp://build:2376", "tcp://[::1]:2375", "tcp://a:1/"]
        {
            assert_eq!(check_address(good), Ok(()), "{good}");
        }
        for wrong in [
            "",
            "unix://",
            "unix:///",
            "unix://run/docker.sock",
            "tcp://build",
            "tcp://:2376",
            "tcp://build:0",
            "tcp://build:99999",
            "tcp://a/b:1",
            "ssh://build",
            "/run/docker.sock",
            "tcp://a b:1",
            "unix:///a\n",
        ] {
            assert!(check_address(wrong).is_err(), "{wrong}");
        }
    }
}
