//! Which engines there are.

use std::collections::BTreeMap;

use crate::base::HostPath;

/// Where an engine listens when nobody says otherwise.
const USUAL: &str = "unix:///var/run/docker.sock";

/// One engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// What it is called in messages.
    pub name: String,
    /// `unix://PATH` or `tcp://NAME:PORT`.
    pub address: String,
    /// What both sides of a TLS connection show; without it `tcp://` is not encrypted.
    pub certificates: Option<Certificates>,
    /// How many containers run there at once; none for as many as are asked for.
    pub slots: Option<usize>,
    /// Words that a run may ask of the engines it uses.
    pub labels: Vec<String>,
}

/// The files of a TLS connection, in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificates {
    /// Whom we believe to be the engine: `ca.pem`.
    pub authority: HostPath,
    /// Who we are: `cert.pem`.
    pub certificate: HostPath,
    /// Our secret key: `key.pem`.
    pub key: HostPath,
}

impl Certificates {
    /// The three files in a folder, by the names that Docker's own client uses.
    pub fn in_folder(folder: &HostPath) -> Self {
        Self {
            authority: folder.join("ca.pem"),
            certificate: folder.join("cert.pem"),
            key: folder.join("key.pem"),
        }
    }
}

impl Host {
    /// The engine that Docker's own client would use: `DOCKER_HOST`, with `DOCKER_TLS_VERIFY` and
    /// `DOCKER_CERT_PATH` (else `~/.docker`), or the usual socket.
    pub fn of_environment(environment: &BTreeMap<String, String>) -> Self {
        let set = |name: &str| environment.get(name).filter(|value| !value.is_empty());
        let address = set("DOCKER_HOST").map_or(USUAL, String::as_str).to_owned();
        let folder = set("DOCKER_CERT_PATH").map(HostPath::new);
        let home = || set("HOME").map(|home| HostPath::new(home).join(".docker"));
        let certificates = match address.starts_with("tcp://") && set("DOCKER_TLS_VERIFY").is_some()
        {
            true => folder.or_else(home).map(|folder| Certificates::in_folder(&folder)),
            false => None,
        };
        Self { name: address.clone(), address, certificates, slots: None, labels: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::{Certificates, Host};
    use crate::base::HostPath;

    #[track_caller]
    fn check(set: &[(&str, &str)], address: &str, folder: Option<&str>) {
        let set = set.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let host = Host::of_environment(&set.collect());
        assert_eq!(host.address, address);
        let folder = folder.map(|folder| Certificates::in_folder(&HostPath::new(folder)));
        assert_eq!(host.certificates, folder);
    }

    #[test]
    fn the_environment_names_the_engine() {
        let tcp = ("DOCKER_HOST", "tcp://build:2376");
        let verify = ("DOCKER_TLS_VERIFY", "1");
        check(&[], "unix:///var/run/docker.sock", None);
        check(&[("DOCKER_HOST", "")], "unix:///var/run/docker.sock", None);
        check(&[("DOCKER_HOST", "unix:///x"), verify], "unix:///x", None);
        check(&[tcp], "tcp://build:2376", None);
        check(&[tcp, verify, ("HOME", "/h")], "tcp://build:2376", Some("/h/.docker"));
        check(&[tcp, verify, ("DOCKER_CERT_PATH", "/c")], "tcp://build:2376", Some("/c"));
    }
}
