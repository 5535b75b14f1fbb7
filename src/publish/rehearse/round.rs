//! What one suite's client does.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use super::client::{self, Prepared, Served};
use super::error::{Error, Result};
use super::guest::{self, INPUTS, Run, Story, UPPER, WORK};
use super::reason::{ending, reasons};
use super::{Candidate, Extent, Progress, Refused, Rehearsal, Stage, Suite, Verdict};
use crate::archive::deb::version::Version;
use crate::base::{Architecture, HostPath};
use crate::realise::world::World;
use crate::store::Scratch;

/// How often a trial is made again because apt asked the archive for what was not foreseen.
const AGAIN: usize = 4;

/// So many files of the archive may a trial ask for: a script in it can ask for any.
const LACKS: usize = 256;

/// At most so many trials at once.
const WORKERS: usize = 4;

/// Apt as it is on any machine, but for the network and questions.
const CONFIG: &str = r#"Dir::Etc::SourceList "/dev/null";
Dir::Etc::SourceParts "/run/rehearsal/sources";
APT::Sandbox::User "root";
APT::Get::Assume-Yes "true";
APT::Install-Recommends "false";
APT::Update::Error-Mode "any";
Acquire::Languages "none";
Acquire::Retries "0";
Acquire::http::Proxy "DIRECT";
DPkg::Use-Pty "false";
DPkg::Options { "--force-unsafe-io"; "--force-confdef"; "--force-confold"; };
quiet "1";
"#;

/// Where the guest finds the server.
const SERVER: &str = "http://127.0.0.1:8080";

/// A suite's rehearsal.
struct Round<'a> {
    world: &'a World<'a>,
    rehearsal: &'a Rehearsal<'a>,
    prepared: &'a Prepared,
    suite: &'a Suite,
    told: &'a (dyn Fn(Progress<'_>) + Sync),
    /// What the guest is given.
    inputs: HostPath,
}

/// Something to be tried with a package.
#[derive(Clone, Copy)]
struct Trial<'a> {
    candidate: &'a Candidate,
    /// The version to come from; none for a client that has none.
    old: Option<&'a Version>,
}

/// What came of a trial.
enum Came {
    Passed,
    Refused(Stage, String),
    Unproven(String),
}

/// Has a client of this suite try everything.
pub(super) fn rehearse(
    world: &World<'_>,
    rehearsal: &Rehearsal<'_>,
    prepared: &Prepared,
    suite: &Suite,
    told: &(dyn Fn(Progress<'_>) + Sync),
    verdict: &mut Verdict,
) -> Result<()> {
    let (ours, others): (Vec<&Candidate>, Vec<_>) = suite.candidates.iter().partition(|one| {
        let client = rehearsal.client.architecture;
        one.architecture == *client || one.architecture == Architecture::all()
    });
    verdict.elsewhere += others.len();
    let inputs = prepared.folder(&format!("inputs-{}", suite.name.replace('/', "_")))?;
    let round = Round { world, rehearsal, prepared, suite, told, inputs };
    round.write_inputs(&ours)?;
    told(Progress::Update(&suite.name));
    // Upon the root lies what the client knows after it has read the indexes.
    let scratch = world.store.scratch()?;
    let known = disk(&scratch)?;
    let story = round.run(&known, prepared.layers.clone(), vec!["update".to_owned()])?;
    if let Some(why) = story.of("archive").find_map(<[String]>::first) {
        let why = reasons(why).join("; ");
        return Err(Error::Archive { archive: rehearsal.client.archive.to_owned(), why });
    }
    let refused = |said: &str, why: Vec<String>| Refused {
        suite: suite.name.clone(),
        package: None,
        stage: Stage::Update,
        why,
        log: ending(said),
    };
    if let Some(said) = story.of("update").find_map(<[String]>::first) {
        verdict.failures.push(refused(said, reasons(said)));
        return Ok(());
    }
    if let Some(stale) = story.of("stale").next() {
        let why = stale.iter().map(|suite| {
            format!("apt silently keeps what it has of `{suite}`: is the new Date later?")
        });
        verdict.failures.push(refused("", why.collect()));
        return Ok(());
    }
    if let Some(how) = story.broken {
        let how = how.to_owned();
        return Err(Error::Guest { suite: suite.name.clone(), how });
    }
    if rehearsal.extent == Extent::Full && !ours.is_empty() {
        round.try_all(&ours, &story, &known, verdict)?;
    }
    Ok(())
}

impl Round<'_> {
    /// Tries each package that apt can find a way for.
    fn try_all(
        &self,
        candidates: &[&Candidate],
        story: &Story,
        known: &HostPath,
        verdict: &mut Verdict,
    ) -> Result<()> {
        let needs: Vec<String> = story.of("need").flatten().cloned().collect();
        self.serve(&needs)?;
        let numbered = |word: &'static str| {
            story.of(word).filter_map(|texts| {
                let (number, said) = texts.split_first()?;
                let candidate = candidates.get(number.parse::<usize>().ok()?)?;
                Some((*candidate, said.first().map_or("", String::as_str)))
            })
        };
        for (candidate, said) in numbered("unsolvable") {
            verdict.failures.push(self.refused(candidate, Stage::Install, said));
        }
        for (candidate, said) in numbered("unproven") {
            verdict.unproven.push(self.refused(candidate, Stage::Upgrade, said));
        }
        if let Some(said) = story.of("previous").find_map(<[String]>::first) {
            let older = candidates.iter().filter(|candidate| candidate.old.is_some());
            let unproven = older.map(|candidate| self.refused(candidate, Stage::Upgrade, said));
            verdict.unproven.extend(unproven);
        }
        let fresh = numbered("solved").map(|(candidate, _)| Trial { candidate, old: None });
        let upgrades = numbered("before")
            .map(|(candidate, _)| Trial { candidate, old: candidate.old.as_ref() });
        let trials: Vec<Trial<'_>> = fresh.chain(upgrades).collect();
        let layers: Vec<HostPath> =
            self.prepared.layers.iter().cloned().chain([known.join(UPPER)]).collect();
        for (trial, came) in self.in_parallel(&trials, &layers)? {
            let Trial { candidate, old } = trial;
            match (came, old) {
                (Came::Passed, None) => verdict.installed += 1,
                (Came::Passed, Some(_)) => verdict.upgraded += 1,
                (Came::Refused(stage, said), _) => {
                    verdict.failures.push(self.refused(candidate, stage, &said));
                }
                (Came::Unproven(said), _) => {
                    verdict.unproven.push(self.refused(candidate, Stage::Upgrade, &said));
                }
            }
        }
        Ok(())
    }

    /// Makes these trials, several at once, each in a root of its own.
    fn in_parallel<'t>(
        &self,
        trials: &[Trial<'t>],
        layers: &[HostPath],
    ) -> Result<Vec<(Trial<'t>, Came)>> {
        let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let (failed, results) = (AtomicBool::new(false), Mutex::new(Vec::new()));
        let work = || {
            while !failed.load(Ordering::Relaxed) {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let Some(trial) = trials.get(number) else { break };
                let came = self.try_one(*trial, layers);
                failed.fetch_or(came.is_err(), Ordering::Relaxed);
                results.lock().unwrap_or_else(PoisonError::into_inner).push((number, came));
                let done = done.fetch_add(1, Ordering::Relaxed) + 1;
                let name = &trial.candidate.name;
                (self.told)(Progress::Package { name, done, total: trials.len() });
            }
        };
        let workers = thread::available_parallelism().map_or(1, usize::from).min(WORKERS);
        thread::scope(|scope| {
            for _ in 1..workers {
                scope.spawn(work);
            }
            work();
        });
        let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
        results.sort_by_key(|(number, _)| *number);
        results.into_iter().map(|(number, came)| Ok((trials[number], came?))).collect()
    }

    fn try_one(&self, trial: Trial<'_>, layers: &[HostPath]) -> Result<Came> {
        let Trial { candidate, old } = trial;
        let mut words: Vec<String> = vec!["install".to_owned(), candidate.name.to_string()];
        if let Some(old) = old {
            words[0] = "upgrade".to_owned();
            words.push(old.to_string());
        }
        words.push(candidate.version.to_string());
        for attempt in 1.. {
            let scratch = self.world.store.scratch()?;
            let disk = disk(&scratch)?;
            let story = self.run(&disk, layers.to_vec(), words.clone())?;
            drop(scratch);
            let first = |word| story.of(word).find_map(<[String]>::first).cloned();
            let refused = [
                ("install", Stage::Install),
                ("upgrade", Stage::Upgrade),
                ("remove", Stage::Remove),
            ]
            .into_iter()
            .find_map(|(word, stage)| Some(Came::Refused(stage, first(word)?)));
            let came = match (refused, first("unproven")) {
                (Some(refused), _) => refused,
                (None, Some(said)) => Came::Unproven(said),
                (None, None) if story.broken.is_none() && story.of("passed").next().is_some() => {
                    return Ok(Came::Passed);
                }
                (None, None) => {
                    let stage = if old.is_some() { Stage::Upgrade } else { Stage::Install };
                    let how = story.broken.unwrap_or("it told nothing");
                    Came::Refused(stage, format!("the client did not come to its end: {how}"))
                }
            };
            // What apt chose otherwise than it had foreseen is fetched, and it chooses again.
            let lacks: Vec<String> = story.of("need").flatten().take(LACKS).cloned().collect();
            if attempt == AGAIN || self.serve(&lacks)? == 0 {
                return Ok(came);
            }
        }
        unreachable!("the last attempt returns")
    }

    fn refused(&self, candidate: &Candidate, stage: Stage, said: &str) -> Refused {
        Refused {
            suite: self.suite.name.clone(),
            package: Some((candidate.name.clone(), candidate.version.clone())),
            stage,
            why: reasons(said),
            log: ending(said),
        }
    }

    fn serve(&self, paths: &[String]) -> Result<usize> {
        self.prepared.serve(self.world, self.rehearsal.client.archive, paths, self.told)
    }

    fn run(&self, disk: &HostPath, layers: Vec<HostPath>, words: Vec<String>) -> Result<Story> {
        let Rehearsal { repository, staged, previous, .. } = *self.rehearsal;
        let mut places = vec![
            (self.inputs.clone(), INPUTS.to_owned()),
            (self.prepared.archive.clone(), "/run/archive".to_owned()),
        ];
        let generations = [("staged", Some(staged)), ("previous", previous)];
        for (name, generation) in generations {
            if let Some(generation) = generation {
                let to = format!("/run/repository/generations/{name}/dists");
                places.push((generation.join("dists"), to));
            }
        }
        for part in ["pool", "by-hash"] {
            places.push((repository.join(part), format!("/run/repository/{part}")));
        }
        let run = Run { layers, places, disk, words };
        let story = run.run(self.world.executor, self.world.cancel)?;
        if story.cancelled { Err(Error::Cancelled) } else { Ok(story) }
    }

    /// Writes down what the guest is to know: its script, apt's configuration, sources and keys,
    /// and the packages.
    fn write_inputs(&self, candidates: &[&Candidate]) -> Result<()> {
        let Rehearsal { client, key, extent, .. } = *self.rehearsal;
        let inputs = &self.inputs;
        client::write(&inputs.join("guest.pl"), guest::SCRIPT.as_bytes())?;
        client::write(&inputs.join("apt.conf"), CONFIG.as_bytes())?;
        let own = (self.suite.name.clone(), self.suite.components.clone());
        let ours: Vec<_> = [own].into_iter().chain(self.suite.beside.iter().cloned()).collect();
        let suites: Vec<&str> = ours.iter().map(|(name, _)| name.as_str()).collect();
        client::write(&inputs.join("suites"), suites.join(" ").as_bytes())?;
        let architecture = client.architecture;
        let key = write_key(inputs, "repository", key)?;
        let ours: String = ours
            .iter()
            .map(|(suite, components)| {
                let source = Source {
                    types: "deb deb-src",
                    place: "repository",
                    suite,
                    components,
                    key: &key,
                    more: "",
                };
                source.stanza(architecture)
            })
            .collect();
        self.write_sources("repository", &ours)?;
        if extent == Extent::Update {
            return Ok(());
        }
        let key = write_key(inputs, "archive", client.keys)?;
        // It is pinned: how old it is does not matter.
        let more = "Check-Valid-Until: no\n";
        let archive = self.prepared.sources.iter();
        let archive: String = archive
            .map(|Served { suite, components }| {
                let source =
                    Source { types: "deb", place: "archive", suite, components, key: &key, more };
                source.stanza(architecture)
            })
            .collect();
        self.write_sources("archive", &archive)?;
        let mut packages = String::new();
        for (number, Candidate { name, version, old, .. }) in candidates.iter().enumerate() {
            let old = old.as_ref().map_or("-".to_owned(), Version::to_string);
            let _ = writeln!(packages, "{number} {name} {version} {old}");
        }
        client::write(&inputs.join("packages"), packages.as_bytes())
    }

    /// Sources alone, and beside all others. Where two have a package in one version, apt takes
    /// that of the first: `repository` is sorted before `upstream`.
    fn write_sources(&self, name: &str, text: &str) -> Result<()> {
        let file = if name == "archive" { "upstream" } else { name };
        for folder in [name, "sources"] {
            let folder = client::folder(&self.inputs.join(folder))?;
            client::write(&folder.join(format!("{file}.sources")), text.as_bytes())?;
        }
        Ok(())
    }
}

/// A new folder for all that a guest writes: its scratch, and in it what lies over the root, so that
/// one limit holds for both.
fn disk(scratch: &Scratch) -> Result<HostPath> {
    let disk = scratch.path().join("disk");
    client::folder(&disk.join(UPPER))?;
    client::folder(&disk.join(WORK))?;
    Ok(disk)
}

/// A source that the guest's server has.
struct Source<'a> {
    types: &'a str,
    place: &'a str,
    suite: &'a str,
    components: &'a [String],
    key: &'a str,
    more: &'a str,
}

impl Source<'_> {
    /// The source in apt's words (sources.list(5), deb822).
    fn stanza(&self, architecture: &Architecture) -> String {
        let Self { types, place, suite, components, key, more } = self;
        format!(
            "Types: {types}\nURIs: {SERVER}/{place}\nSuites: {suite}\nComponents: {}\n\
             Architectures: {architecture}\nSigned-By: {key}\n{more}\n",
            components.join(" ")
        )
    }
}

/// Writes a key where apt finds it, which tells by the name whether it is armoured; its path in
/// the guest.
fn write_key(inputs: &HostPath, name: &str, key: &[u8]) -> Result<String> {
    let is_armoured = key.trim_ascii_start().starts_with(b"-----BEGIN PGP");
    let file = format!("{name}.{}", if is_armoured { "asc" } else { "gpg" });
    client::write(&inputs.join(&file), key)?;
    Ok(format!("{INPUTS}/{file}"))
}
