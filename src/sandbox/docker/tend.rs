//! Looking after engines: what they are, and what is left on them.

use std::io::Write;
use std::sync::atomic::AtomicBool;

use bollard::query_parameters::{ListContainersOptions, RemoveImageOptions};

use super::container::{self, forced};
use super::engine::{Engine, Facts, Met};
use super::marks::Marks;
use super::{Docker, Swept, image, layers, run, wall};
use crate::base::HostPath;
use crate::sandbox::doctor::{self, Finding, Guest};
use crate::sandbox::{Enforcement, Executor, Outcome, Request, Result};

impl Docker {
    /// What `doctor` tells of each engine, by its name: version, storage driver, control groups,
    /// security options, whether it shares this machine's files; and a trial of each guest.
    pub fn probe(&self) -> Vec<(String, Vec<Finding>)> {
        let members = self.engines.members().iter();
        members.map(|member| (member.name.clone(), self.look_at(&member.engine))).collect()
    }

    fn look_at(&self, engine: &Engine) -> Vec<Finding> {
        let name = &engine.host().name;
        let met = match engine.meet() {
            Ok(met) => met,
            Err(error) => {
                return vec![Finding {
                    name: "engine",
                    ok: false,
                    detail: error.to_string(),
                    remedy: Some(
                        "start the engine, or name another with DOCKER_HOST or in \
                         `[executor.docker.hosts]` of config.toml"
                            .into(),
                    ),
                }];
            }
        };
        let mut findings = vec![about(name, &met), limits(name, &met.facts, self.enforcement)];
        match tempfile::Builder::new().prefix(".doctor-").tempdir_in(self.home.as_path()) {
            Ok(folder) => {
                let one = OneEngine { docker: self, engine };
                for guest in [Guest::Build, Guest::Configure] {
                    let finding = doctor::trial(&one, &HostPath::new(folder.path()), guest);
                    let detail = format!("{name}: {}", finding.detail);
                    findings.push(Finding { detail, ..finding });
                }
                findings.extend(engine.known_to_share().map(|shares| files(name, shares)));
            }
            Err(error) => findings.push(Finding {
                name: "scratch",
                ok: false,
                detail: format!("cannot make a folder in `{}`: {error}", self.home),
                remedy: Some(format!("make `{}` writable, or name another store", self.home)),
            }),
        }
        findings
    }

    /// Removes what runs of this machine and home left on the engines when they were killed:
    /// containers and their volumes. With `all`, also layers and images that are kept for the
    /// next run. Nothing of anybody else's is touched.
    ///
    /// An engine that does not answer is said aloud and passed over; it is an error only if none
    /// does.
    pub fn sweep(&self, all: bool) -> Result<Swept> {
        self.leftovers(all, Deed::Remove)
    }

    /// What [`Docker::sweep`] would remove; nothing is.
    pub fn foresee_sweep(&self, all: bool) -> Result<Swept> {
        self.leftovers(all, Deed::Count)
    }

    fn leftovers(&self, all: bool, deed: Deed) -> Result<Swept> {
        let marks = self.marks()?;
        let mut swept = Swept::default();
        let mut missed = None;
        let mut answered = false;
        for member in self.engines.members() {
            match sweep(&member.engine, marks, all, deed, &mut swept) {
                Ok(()) => answered = true,
                Err(error) => {
                    if self.engines.members().len() > 1 {
                        (self.notice)(&format!("leftovers stay where they are: {error}"));
                    }
                    missed = Some(error);
                }
            }
        }
        match missed {
            Some(error) if !answered => Err(error),
            missed => {
                // Whoever did not answer may still have something under these marks.
                if missed.is_none() && deed == Deed::Remove {
                    marks.tidy();
                }
                Ok(swept)
            }
        }
    }
}

/// What is done with leftovers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// They are removed.
    Remove,
    /// They are counted.
    Count,
}

/// One engine of several as an executor of its own, for a trial.
struct OneEngine<'a> {
    docker: &'a Docker,
    engine: &'a Engine,
}

impl Executor for OneEngine<'_> {
    fn run(&self, request: &Request, log: &mut dyn Write, cancel: &AtomicBool) -> Result<Outcome> {
        run::run(self.docker, self.engine, request, None, log, cancel)
    }
}

fn about(name: &str, met: &Met) -> Finding {
    let facts = &met.facts;
    let security = match facts.security.is_empty() {
        true => "none".to_owned(),
        false => facts.security.join(", "),
    };
    let seccomp = facts.has("seccomp");
    let (uid, gid) = container::ids(facts);
    Finding {
        name: "engine",
        ok: seccomp,
        detail: format!(
            "{name}: {} {} (API {}), {}, storage {}, control groups v{}, security {security}; \
             builds run as {uid}:{gid}",
            facts.product,
            facts.version,
            met.client.client_version(),
            facts.runtime,
            facts.storage,
            facts.groups,
        ),
        remedy: (!seccomp).then(|| "it needs seccomp, which it is built or started without".into()),
    }
}

fn files(name: &str, shares: bool) -> Finding {
    let detail = match shares {
        true => format!("{name}: shares this machine's files: layers are mounted where they are"),
        false => format!("{name}: is elsewhere: layers are sent there once, as volumes"),
    };
    Finding { name: "engine files", ok: true, detail, remedy: None }
}

fn limits(name: &str, facts: &Facts, enforcement: Enforcement) -> Finding {
    let lacks: Vec<&str> = [(facts.limits.0, "memory"), (facts.limits.1, "processes")]
        .into_iter()
        .filter(|(has, _)| !has)
        .map(|(_, what)| what)
        .collect();
    let strict = enforcement == Enforcement::ControlGroup;
    let detail = match lacks.as_slice() {
        [] => format!("{name}: memory and processes by the engine's control groups"),
        lacks => format!(
            "{name}: no limit of {} by the engine; a supervisor inside the container holds it",
            lacks.join(" and ")
        ),
    };
    let ok = lacks.is_empty() || !strict;
    Finding { name: "engine limits", ok, detail, remedy: (!ok).then(wall::remedy_of_limits) }
}

fn sweep(engine: &Engine, marks: &Marks, all: bool, deed: Deed, swept: &mut Swept) -> Result<()> {
    let met = engine.meet()?;
    let client = &met.client;
    let ours = ListContainersOptions {
        all: true,
        filters: Some(marks.ours()),
        ..ListContainersOptions::default()
    };
    let containers =
        engine.ask(|| "list containers".to_owned(), client.list_containers(Some(ours)))?;
    for container in containers {
        let labels = container.labels.unwrap_or_default();
        let Some(id) = container.id.filter(|_| marks.is_left(&labels)) else { continue };
        let operation = || format!("remove container {id:.12}");
        if deed == Deed::Remove {
            let removal = || client.remove_container(&id, Some(forced()));
            // Podman fails once if it ends by itself while it is killed.
            if engine.removed(operation, removal()).is_err() {
                engine.removed(operation, removal())?;
            }
        }
        swept.containers += 1;
    }
    swept.volumes += layers::sweep(engine, &met, marks, all, deed)?;
    if all {
        swept.images += old_images(engine, marks, deed)?;
    }
    Ok(())
}

/// Removes images with other versions of this program that this home brought to the engine.
fn old_images(engine: &Engine, marks: &Marks, deed: Deed) -> Result<usize> {
    let Met { client, .. } = engine.meet()?;
    let keep = engine.known_tool().map(|tool| tool.image).unwrap_or_default();
    let old = engine.ask(|| "list images".to_owned(), image::outdated(&client, &keep))?;
    let mut removed = 0;
    for id in old.into_iter().filter(|id| marks.has_brought(id)) {
        let removal = client.remove_image(&id, None::<RemoveImageOptions>, None);
        if deed == Deed::Count || engine.removed(|| format!("remove image {id:.19}"), removal)? {
            removed += 1;
        }
    }
    Ok(removed)
}
