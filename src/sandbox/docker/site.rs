//! Where containers are made: one engine, with what all of them have in common.

use std::path::Path;

use super::container::{Container, Plan};
use super::engine::{Engine, Met, Tool};
use super::places::Places;
use super::{Docker, marks};
use crate::sandbox::{Error, Limits, Result, native};

/// Where a folder of ours is mounted that an engine may see or not.
const SEEN: &str = "/seen";

/// One engine, for one request.
#[derive(Clone, Copy)]
pub struct Site<'a> {
    /// Whose containers these are.
    pub docker: &'a Docker,
    /// The engine.
    pub engine: &'a Engine,
    /// The same, as it answered.
    pub met: &'a Met,
    /// What every container is made of.
    pub tool: &'a Tool,
    /// What each may use.
    pub limits: &'a Limits,
}

impl<'a> Site<'a> {
    /// Makes a container, which is not started.
    pub fn container(&self, places: &Places) -> Result<Container<'a>> {
        let plan = Plan {
            image: &self.tool.image,
            profile: &self.tool.profile,
            places,
            limits: self.limits,
            labels: self.docker.marks()?.labels(marks::CONTAINER),
            argument: native::RELAY,
        };
        // Another program may have removed the image meanwhile.
        Container::make(self.engine, self.met, plan).inspect_err(|_| self.engine.forget())
    }

    /// Whether the engine sees the caller's files: one that is made now, with a name that nobody
    /// else has, can be found in a container. Asked once of each engine. Podman must: its filter
    /// of system calls is such a file.
    pub fn shares_files(&self) -> Result<bool> {
        self.engine.shares(|| {
            let folder = self.docker.marks()?.folder();
            let file = tempfile::Builder::new().prefix("seen-").tempfile_in(folder.as_path());
            let file = file.map_err(|source| Error::System {
                operation: "make a file that an engine is asked for".into(),
                source,
            })?;
            let name = file.path().file_name().unwrap_or_default();
            let sees = self.sees(folder.as_path(), &name.to_string_lossy())?;
            if self.met.facts.podman && !sees {
                let because = format!(
                    "it does not see `{folder}`, and Podman reads the filter of system calls from \
                     there; use Docker Engine on that machine, or Podman on this one"
                );
                return Err(self.engine.refuses("run anything for this machine".into(), because));
            }
            Ok(sees)
        })
    }

    /// Whether the engine has a folder at this path with a file of this name. Docker refuses a
    /// folder that is not there, and Podman makes it.
    fn sees(&self, folder: &Path, name: &str) -> Result<bool> {
        let mut places = Places::default();
        places.bind(folder, SEEN.to_owned(), true);
        let container = match self.container(&places) {
            Err(Error::Engine { because, .. }) if because.contains(&*folder.to_string_lossy()) => {
                return Ok(false);
            }
            container => container?,
        };
        container.has(&format!("{SEEN}/{name}"))
    }
}
