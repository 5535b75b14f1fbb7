//! Where an archive's files can be fetched from. Content is pinned by its digest, so a mirror is
//! only a place, and a release names none unless it wants to.

mod apt;
mod url;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;

use jiff::Timestamp;

use super::archive::{MAX_RELEASE, in_release_path};
use super::client::{Client, Network};
use super::error::{Error, Result};
use crate::archive::deb::signature::{self, Reason, Refusal};
use crate::base::HostPath;

pub use url::Url;

/// What is known about where an archive could be, before anything is asked.
#[derive(Debug, Clone)]
pub struct Search {
    /// The archive's name in release.toml.
    pub archive: String,
    /// Its suites.
    pub suites: Vec<String>,
    /// The OpenPGP keys that sign it; a host's mirror counts if they signed what it carries.
    pub keyring: Vec<u8>,
    /// Given on the command line.
    pub given: Vec<String>,
    /// Named by release.toml.
    pub release: Vec<String>,
    /// Where else to look.
    pub places: Places,
}

/// The places outside of the release that may name mirrors.
#[derive(Debug, Clone, Default)]
pub struct Places {
    /// The environment: variables by name.
    pub environment: BTreeMap<String, String>,
    /// The user's config.toml.
    pub config: Option<HostPath>,
    /// apt's configuration folder.
    pub apt: Option<HostPath>,
}

impl Places {
    /// Those of this process and its host.
    pub fn of_this_host() -> Self {
        use etcetera::BaseStrategy as _;
        let config = etcetera::choose_base_strategy().ok().map(|base| base.config_dir());
        let ours = std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        });
        Self {
            environment: ours.filter(|(name, _)| name.starts_with(VARIABLE)).collect(),
            config: config.map(|folder| HostPath::new(folder.join("perestroika/config.toml"))),
            apt: Some(HostPath::new("/etc/apt")),
        }
    }
}

const VARIABLE: &str = "PERESTROIKA_MIRROR_";

/// The mirrors of an archive, found when they are first needed: a release whose files are all in
/// the store never looks.
#[derive(Debug)]
pub struct Mirrors {
    search: Search,
    found: OnceLock<Vec<Url>>,
}

impl Mirrors {
    /// Mirrors that will be found by this search.
    pub fn new(search: Search) -> Self {
        Self { search, found: OnceLock::new() }
    }

    /// The one place there is of something that is no archive of a release.
    pub fn at(url: Url) -> Self {
        let search = Search {
            archive: url.to_string(),
            suites: Vec::new(),
            keyring: Vec::new(),
            given: Vec::new(),
            release: Vec::new(),
            places: Places::default(),
        };
        Self { search, found: OnceLock::from(vec![url]) }
    }

    /// The archive's name in release.toml.
    pub fn archive(&self) -> &str {
        &self.search.archive
    }

    /// The mirrors, the best first, at least one: those of the first of these that names any: the
    /// command line, the environment, release.toml, the user's config.toml, and the host's own
    /// apt sources. The last are asked whether they carry the suites.
    pub fn urls(&self, client: &Client, cancel: &AtomicBool) -> Result<&[Url]> {
        if let Some(found) = self.found.get() {
            return Ok(found);
        }
        let found = self.find(client, cancel)?;
        Ok(self.found.get_or_init(|| found))
    }

    fn find(&self, client: &Client, cancel: &AtomicBool) -> Result<Vec<Url>> {
        let Search { given, release, places, archive, .. } = &self.search;
        let variable = variable(archive);
        let environment = places.environment.get(&variable).map(String::as_str);
        let environment = environment.unwrap_or_default().split_whitespace();
        for named in [
            parsed(given)?,
            parsed(environment)?,
            parsed(release)?,
            parsed(configured(places.config.as_ref(), archive)?)?,
        ] {
            if !named.is_empty() {
                return Ok(named);
            }
        }
        let candidates = places.apt.as_ref().map(apt::sources).transpose()?.unwrap_or_default();
        let (mut found, mut asked) = (Vec::new(), Vec::new());
        for candidate in candidates {
            match self.carries(&candidate, client, cancel)? {
                None => found.push(candidate),
                Some(why) => asked.push((candidate, why)),
            }
        }
        if found.is_empty() {
            let (archive, config) = (archive.clone(), places.config.clone());
            return Err(Error::NoMirror { archive, variable, config, asked });
        }
        Ok(found)
    }

    /// Why a mirror will not do, if it will not: it lacks a suite, or others signed it.
    fn carries(
        &self,
        mirror: &Url,
        client: &Client,
        cancel: &AtomicBool,
    ) -> Result<Option<String>> {
        if client.network() == Network::Offline {
            return Ok(Some("not asked because of `--offline`".to_owned()));
        }
        for suite in &self.search.suites {
            let url = mirror.join(&in_release_path(suite));
            let bytes = match client.get(&url, MAX_RELEASE, cancel) {
                Ok(bytes) => bytes,
                Err(Error::Cancelled) => return Err(Error::Cancelled),
                Err(Error::Missing { .. }) => return Ok(Some(format!("no suite `{suite}`"))),
                Err(error) => {
                    let cause = std::error::Error::source(&error);
                    let cause = cause.map(|cause| format!(": {cause}")).unwrap_or_default();
                    return Ok(Some(format!("{error}{cause}")));
                }
            };
            match signature::verify(&bytes, &self.search.keyring, Timestamp::now()) {
                Ok(_) => {}
                // An old archive's key has expired, but it still tells whose archive it is.
                Err(Refusal::Faults(faults))
                    if faults.iter().any(|fault| {
                        matches!(fault.reason, Reason::ExpiredKey(_) | Reason::ExpiredSignature(_))
                    }) => {}
                Err(refusal) => return Ok(Some(format!("suite `{suite}`: {refusal}"))),
            }
        }
        Ok(None)
    }
}

/// `PERESTROIKA_MIRROR_<ARCHIVE>`: upper case, `_` for whatever a variable cannot hold.
fn variable(archive: &str) -> String {
    let legal = |letter: char| {
        if letter.is_ascii_alphanumeric() { letter.to_ascii_uppercase() } else { '_' }
    };
    format!("{VARIABLE}{}", archive.chars().map(legal).collect::<String>())
}

fn parsed<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> Result<Vec<Url>> {
    texts.into_iter().map(|text| text.as_ref().parse()).collect()
}

/// The mirrors of `archive` in the user's config.toml: `[mirrors]`, by archive, one or a list.
fn configured(path: Option<&HostPath>, archive: &str) -> Result<Vec<String>> {
    #[derive(serde::Deserialize)]
    struct Config {
        #[serde(default)]
        mirrors: BTreeMap<String, OneOrMore>,
    }
    #[derive(serde::Deserialize)]
    #[serde(untagged)]
    enum OneOrMore {
        One(String),
        More(Vec<String>),
    }
    let Some(path) = path else { return Ok(Vec::new()) };
    let wrong = |what: String| Error::Configuration { path: path.to_string(), what };
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(wrong(format!("cannot be read: {error}"))),
    };
    let mut config: Config =
        toml::from_str(&text).map_err(|error| wrong(error.to_string().trim_end().to_owned()))?;
    Ok(match config.mirrors.remove(archive) {
        None => Vec::new(),
        Some(OneOrMore::One(one)) => vec![one],
        Some(OneOrMore::More(more)) => more,
    })
}
