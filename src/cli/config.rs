//! The user's config.toml, as far as it says how builds are run and what signs repositories. Its
//! `[mirrors]` are read where files are fetched.

mod executor;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::arguments::RequiredLimits;
use super::failure::Failure;
use crate::base::HostPath;
use crate::fetch::Places;
use crate::realise::retry::Retries;
use crate::sandbox::Enforcement;
use crate::store::CapsuleLimits;

pub use executor::{ExecutorTable, check_address};

/// What the user demands of every build.
#[derive(Debug, Default, Deserialize)]
pub struct Config {
    #[serde(default)]
    require_limits: Option<RequiredLimits>,
    #[serde(default)]
    retries: Option<u32>,
    #[serde(default)]
    capsules: Capsules,
    #[serde(default)]
    signing: Signing,
    #[serde(default)]
    executor: ExecutorTable,
}

/// What repositories are signed with.
#[derive(Debug, Default, Deserialize)]
struct Signing {
    /// Files of secret keys.
    #[serde(default)]
    key_files: Vec<PathBuf>,
}

/// How much is kept of failed builds.
#[derive(Debug, Default, Deserialize)]
struct Capsules {
    /// Bytes of all; 0 for none.
    size: Option<u64>,
    /// For how many days.
    days: Option<u64>,
}

impl Config {
    /// Reads `perestroika/config.toml` of the user's configuration folder; without one, nothing
    /// is demanded.
    pub fn load() -> Result<Self, Failure> {
        Places::of_this_host().config.map_or_else(|| Ok(Self::default()), |path| Self::read(&path))
    }

    fn read(path: &HostPath) -> Result<Self, Failure> {
        let wrong = |what: String| {
            Failure::input("configuration", format!("`{path}` cannot be used: {what}"))
        };
        match std::fs::read_to_string(path) {
            Ok(text) => {
                toml::from_str(&text).map_err(|error| wrong(error.to_string().trim_end().into()))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(wrong(error.to_string())),
        }
    }

    /// How limits must be enforced: as the command line or this file demands, whichever is
    /// stricter.
    pub fn enforcement(&self, given: Option<RequiredLimits>) -> Enforcement {
        match given.or(self.require_limits) {
            Some(RequiredLimits::Cgroup) => Enforcement::ControlGroup,
            None => Enforcement::Best,
        }
    }

    /// How faults of the machine are met: `retries` is how often they are tried again.
    pub fn retries(&self) -> Retries {
        let usual = Retries::default();
        Retries { times: self.retries.unwrap_or(usual.times), ..usual }
    }

    /// What runs guests, and where container engines are.
    pub fn executor(&self) -> &ExecutorTable {
        &self.executor
    }

    /// The files of secret keys that repositories are signed with: `[signing]`, `key_files`.
    pub fn key_files(&self) -> Vec<PathBuf> {
        self.signing.key_files.clone()
    }

    /// What is kept of failed builds: `[capsules]`, `size` in bytes and `days`.
    pub fn capsules(&self) -> CapsuleLimits {
        let usual = CapsuleLimits::default();
        let day = |days: u64| Duration::from_secs(days.saturating_mul(24 * 3600));
        CapsuleLimits {
            bytes: self.capsules.size.unwrap_or(usual.bytes),
            age: self.capsules.days.map_or(usual.age, day),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_control_group_is_demanded_by_the_file_or_the_command_line() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = HostPath::new(folder.path().join("config.toml"));
        let read = |text: &str| {
            std::fs::write(path.as_path(), text).expect("a file");
            Config::read(&path)
        };
        let absent = Config::read(&HostPath::new("/nonexistent/config.toml")).expect("no file");
        let mirrors = read("[mirrors]\nx = \"http://mirror.example/\"\n").expect("another setting");
        let strict = read("require_limits = \"cgroup\"\n").expect("a demand");
        let flag = Some(RequiredLimits::Cgroup);
        for (config, given, wanted) in [
            (&absent, None, Enforcement::Best),
            (&absent, flag, Enforcement::ControlGroup),
            (&mirrors, None, Enforcement::Best),
            (&strict, None, Enforcement::ControlGroup),
            (&strict, flag, Enforcement::ControlGroup),
        ] {
            assert_eq!(config.enforcement(given), wanted, "{config:?}");
        }
        let retries = read("retries = 0\n").expect("a number").retries().times;
        assert_eq!((retries, absent.retries().times), (0, 2));
        let capsules = read("[capsules]\nsize = 0\ndays = 2\n").expect("limits").capsules();
        assert_eq!((capsules.bytes, capsules.age.as_secs()), (0, 2 * 24 * 3600));
        assert_eq!(absent.capsules(), CapsuleLimits::default());
        let signing = read("[signing]\nkey_files = [\"/keys/demo\"]\n").expect("files").key_files();
        assert_eq!((signing.len(), absent.key_files().len()), (1, 0));
        let failure = read("require_limits = \"some\"\n").expect_err("no such demand");
        let summary = failure.summary();
        assert!(summary.contains("config.toml") && summary.contains("cgroup"), "{summary}");
    }
}
