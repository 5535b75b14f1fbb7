//! Where containers are made: one engine, with what all of them have in common.

use std::path::Path;

use super::container::{Container, Plan};
use super::engine::{Engine, Met, Tool};
use super::places::Places;
use super::{Docker, marks};
use crate::sandbox::{Error, Limits, Result, native};

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

    /// Whether the engine sees the caller's files: a folder that is made now, with a name that
    /// nobody else has, can be mounted. Asked once of each engine.
    pub fn shares_files(&self) -> Result<bool> {
        self.engine.shares(|| {
            let folder = self.docker.marks()?.folder().join(marks::random().map_err(marked)?);
            std::fs::create_dir(folder.as_path()).map_err(marked)?;
            let seen = self.sees(folder.as_path());
            std::fs::remove_dir(folder.as_path()).map_err(marked)?;
            seen
        })
    }

    fn sees(&self, folder: &Path) -> Result<bool> {
        let mut places = Places::default();
        places.bind(folder, "/seen".to_owned(), true);
        let tried = self.container(&places).and_then(|container| match self.met.facts.podman {
            // Podman only looks when it starts one.
            true => container.start().map(drop),
            false => Ok(()),
        });
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        match tried {
            Ok(()) => Ok(true),
            // It says what it does not find.
            Err(Error::Engine { because, .. }) if because.contains(&*name) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

fn marked(source: std::io::Error) -> Error {
    Error::System { operation: "make a folder that an engine is asked for".into(), source }
}
