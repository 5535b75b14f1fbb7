//! What runs guests: chosen by the command line, else the environment, the user's config.toml and
//! the release, in this order.

use std::collections::BTreeMap;
use std::io::Write;
use std::num::NonZeroUsize;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use serde_json::{Value, json};

use super::arguments::{ExecutorKind, Global};
use super::config::{Config, check_address};
use super::failure::{Failure, Kind};
use super::output::Output;
use super::progress;
use super::report::count;
use crate::base::HostPath;
use crate::sandbox::docker::{Docker, Host, Notice, Swept};
use crate::sandbox::doctor::Finding;
use crate::sandbox::native::{Native, Session};
use crate::sandbox::{self, Enforcement, Executor, Outcome, Request};
use crate::spec::release::{self, Release};

/// What is to run guests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// This machine's kernel.
    Native,
    /// These engines, at least one.
    Docker(Vec<Host>),
}

/// The environment that names the engine where config.toml names none.
const DOCKER_HOST: &str = "DOCKER_HOST";

impl Choice {
    /// What the flags, the user's configuration and a release ask for. A release says no more
    /// than the kind: where engines are is the user's to say.
    pub fn new(
        global: &Global,
        config: &Config,
        release: Option<&Release>,
    ) -> Result<Self, Failure> {
        match kind(global, config, release) {
            ExecutorKind::Docker => engines(global, config, &environment()).map(Self::Docker),
            ExecutorKind::Native if global.engine.is_empty() => Ok(Self::Native),
            ExecutorKind::Native => Err(Failure::input(
                "engine",
                "`--engine` is about container engines, and this machine itself is to run builds",
            )
            .hint("`--executor docker` uses engines")),
        }
    }
}

/// The engines that a user has said something of, even if builds do not use them: those of
/// config.toml or `DOCKER_HOST`, and whichever `--executor docker` means. None if there are none.
pub fn asked_for(global: &Global, config: &Config) -> Result<Option<Vec<Host>>, Failure> {
    let environment = environment();
    let is_asked_for = kind(global, config, None) == ExecutorKind::Docker
        || config.executor().docker.hosts().is_some()
        || environment.get(DOCKER_HOST).is_some_and(|host| !host.is_empty())
        || !global.engine.is_empty();
    is_asked_for.then(|| engines(global, config, &environment)).transpose()
}

/// The kind that is asked for.
pub fn kind(global: &Global, config: &Config, release: Option<&Release>) -> ExecutorKind {
    let of_release = || {
        Some(match release?.executor.as_ref()?.value {
            release::ExecutorKind::Native => ExecutorKind::Native,
            release::ExecutorKind::Docker => ExecutorKind::Docker,
        })
    };
    let said = global.executor.or(config.executor().kind);
    said.or_else(of_release).unwrap_or(ExecutorKind::Native)
}

fn environment() -> BTreeMap<String, String> {
    let text = |name: std::ffi::OsString| name.into_string().ok();
    std::env::vars_os().filter_map(|(name, value)| Some((text(name)?, text(value)?))).collect()
}

/// The engines with all the labels that are asked for.
fn engines(
    global: &Global,
    config: &Config,
    environment: &BTreeMap<String, String>,
) -> Result<Vec<Host>, Failure> {
    let table = &config.executor().docker;
    let all = match table.hosts() {
        Some(hosts) => hosts,
        None => {
            let host = Host::of_environment(environment);
            check_address(&host.address).map_err(|wrong| {
                Failure::input("engine-address", format!("`{DOCKER_HOST}`: {wrong}"))
            })?;
            vec![host]
        }
    };
    let labels: Vec<&str> = match global.engine.as_slice() {
        [] => table.labels.iter().map(|label| label.0.as_str()).collect(),
        given => given.iter().map(String::as_str).collect(),
    };
    let has =
        |host: &Host, label: &str| host.name == label || host.labels.iter().any(|l| l == label);
    let used = all.iter().filter(|host| labels.iter().all(|label| has(host, label)));
    let used: Vec<Host> = used.cloned().collect();
    match used.is_empty() {
        false => Ok(used),
        true => Err(nobody(&labels, &all)),
    }
}

/// No engine has all of these labels.
fn nobody(labels: &[&str], all: &[Host]) -> Failure {
    let quoted: Vec<String> = labels.iter().map(|label| format!("`{label}`")).collect();
    let what = match quoted.as_slice() {
        [one] => format!("the label or name {one}"),
        more => format!("all of the labels {}", more.join(", ")),
    };
    let known: Vec<String> = all
        .iter()
        .map(|host| match host.labels.as_slice() {
            [] => format!("`{}`", host.name),
            labels => format!("`{}` ({})", host.name, labels.join(", ")),
        })
        .collect();
    Failure::input("unknown-label", format!("no container engine has {what}"))
        .hint(format!("there is {}", known.join(", ")))
        .hint("`[executor.docker.hosts.NAME] labels` in config.toml gives an engine labels")
}

/// What runs guests.
#[derive(Clone)]
pub enum Runner {
    /// This machine's kernel.
    Native(Native),
    /// Container engines.
    Docker(Arc<Containers>),
}

/// Container engines, and whether a run of this program has begun on them.
pub struct Containers {
    settings: Settings,
    docker: Docker,
    output: Output,
    begun: Mutex<bool>,
}

#[derive(Clone, PartialEq, Eq)]
struct Settings {
    home: HostPath,
    hosts: Vec<Host>,
    enforcement: Enforcement,
}

/// What was opened: several releases of one run share its engines, and the slots of each.
static OPEN: Mutex<Vec<Weak<Containers>>> = Mutex::new(Vec::new());

impl Runner {
    /// What was chosen, for the store in `home`. No engine is asked anything yet.
    pub fn open(
        choice: Choice,
        home: &HostPath,
        enforcement: Enforcement,
        global: &Global,
    ) -> Result<Self, Failure> {
        let program = std::env::current_exe().map(HostPath::new).map_err(|error| {
            Failure::error(Kind::Machine, "program", &error)
                .hint("is /proc mounted? the program finds itself there")
        })?;
        let hosts = match choice {
            Choice::Native => {
                return Ok(Self::Native(Native::new(program).enforcing(enforcement)));
            }
            Choice::Docker(hosts) => hosts,
        };
        let settings = Settings { home: home.clone(), hosts, enforcement };
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        let mut there = open.iter().filter_map(Weak::upgrade);
        if let Some(there) = there.find(|there| there.settings == settings) {
            return Ok(Self::Docker(there));
        }
        let (home, hosts) = (settings.home.clone(), settings.hosts.clone());
        let docker = Docker::new(program, home, hosts, notice(global)).enforcing(enforcement);
        let (output, begun) = (Output::new(global), Mutex::new(false));
        let containers = Arc::new(Containers { settings, docker, output, begun });
        open.push(Arc::downgrade(&containers));
        Ok(Self::Docker(containers))
    }

    /// What it is, for a machine whose limits are enforced otherwise.
    pub fn choice(&self) -> Choice {
        match self {
            Self::Native(_) => Choice::Native,
            Self::Docker(containers) => Choice::Docker(containers.settings.hosts.clone()),
        }
    }

    /// Fails if limits cannot be enforced as demanded.
    pub fn check_limits(&self) -> sandbox::Result<()> {
        match self {
            Self::Native(native) => native.check_limits(),
            Self::Docker(containers) => containers.docker.check_limits(),
        }
    }

    /// Makes sure that guests can be run now, so that nothing is begun in vain: container engines
    /// are asked, and what killed runs left on them is removed.
    pub fn begin(&self) -> sandbox::Result<()> {
        match self {
            Self::Native(_) => Ok(()),
            Self::Docker(containers) => containers.begin(),
        }
    }

    /// What `doctor` tells of container engines, by their names.
    pub fn probe(&self) -> Vec<(String, Vec<Finding>)> {
        match self {
            Self::Native(_) => Vec::new(),
            Self::Docker(containers) => containers.docker.probe(),
        }
    }

    /// Removes all that is on container engines and not in use.
    pub fn sweep(&self) -> sandbox::Result<Swept> {
        match self {
            Self::Native(_) => Ok(Swept::default()),
            Self::Docker(containers) => containers.docker.sweep(true),
        }
    }

    /// What that would be.
    pub fn foresee_sweep(&self) -> sandbox::Result<Swept> {
        match self {
            Self::Native(_) => Ok(Swept::default()),
            Self::Docker(containers) => containers.docker.foresee_sweep(true),
        }
    }

    /// How many guests it takes at once; none for as many as are asked for.
    pub fn slots(&self) -> Option<NonZeroUsize> {
        let Self::Docker(containers) = self else { return None };
        let slots = containers.settings.hosts.iter().map(|host| host.slots);
        let sum = slots.sum::<Option<usize>>()?;
        NonZeroUsize::new(sum)
    }

    /// Runs a request with the caller at its command.
    pub fn enter(
        &self,
        request: &Request,
        session: Session,
        cancel: &AtomicBool,
    ) -> sandbox::Result<Outcome> {
        self.begin()?;
        match self {
            Self::Native(native) => native.enter(request, session, cancel),
            Self::Docker(containers) => containers.docker.enter(request, session, cancel),
        }
    }

    /// ` · docker: near, far`, for the line that a build begins with; nothing of the usual one.
    pub fn told(&self) -> String {
        match self {
            Self::Native(_) => String::new(),
            Self::Docker(containers) => format!(" · docker: {}", containers.names().join(", ")),
        }
    }

    /// The same for a document.
    pub fn document(&self) -> Value {
        match self {
            Self::Native(_) => json!({ "kind": "native" }),
            Self::Docker(containers) => json!({ "kind": "docker", "engines": containers.names() }),
        }
    }
}

impl Executor for Runner {
    fn run(
        &self,
        request: &Request,
        log: &mut dyn Write,
        cancel: &AtomicBool,
    ) -> sandbox::Result<Outcome> {
        self.begin()?;
        match self {
            Self::Native(native) => native.run(request, log, cancel),
            Self::Docker(containers) => containers.docker.run(request, log, cancel),
        }
    }
}

impl Containers {
    fn names(&self) -> Vec<&str> {
        self.settings.hosts.iter().map(|host| host.name.as_str()).collect()
    }

    /// Removes leftovers before the first guest, and once. While it fails, it is tried again.
    fn begin(&self) -> sandbox::Result<()> {
        let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        if !*begun {
            let swept = self.docker.sweep(false)?;
            *begun = true;
            if let Some(text) = swept_text(&swept) {
                say(&self.output, &format!("removed what a killed run left: {text}"));
            }
        }
        Ok(())
    }
}

/// `2 containers, 1 volume`; none if there was nothing.
pub fn swept_text(swept: &Swept) -> Option<String> {
    let Swept { containers, volumes, images } = *swept;
    let told = [(containers, "container"), (volumes, "volume"), (images, "image")];
    let told = told.into_iter().filter(|(number, _)| *number > 0);
    let told: Vec<String> = told.map(|(number, what)| count(number, what)).collect();
    (!told.is_empty()).then(|| told.join(", "))
}

/// That no engine does what is asked of it, and what can be done.
pub fn engine_failed(error: &sandbox::Error) -> Failure {
    Failure::error(Kind::Machine, "engine", error)
        .hint("`perestroika doctor --executor docker` looks at each engine")
        .hint("`--executor native` builds without one")
}

/// Says a sentence of an executor, beside a display of progress if there is one.
pub fn notice(global: &Global) -> Notice {
    let output = Output::new(global);
    Arc::new(move |text| say(&output, text))
}

fn say(output: &Output, text: &str) {
    if !progress::note(text) {
        output.note(text);
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::arguments::Arguments;

    fn global(flags: &[&str]) -> Global {
        let words = ["perestroika", "doctor"].iter().chain(flags);
        Arguments::try_parse_from(words).expect("flags").global
    }

    fn config(text: &str) -> Config {
        toml::from_str(text).expect("a configuration")
    }

    fn release(more: &str) -> Release {
        let text = format!(
            "[release]\nname = \"a\"\nversion = \"1\"\nmaintainer = \"A <a@example.org>\"\n\
             architectures = [\"amd64\"]\n{more}"
        );
        release::parse(&text).expect("a release")
    }

    #[test]
    fn the_command_line_comes_before_the_user_and_the_user_before_the_release() {
        use ExecutorKind::{Docker, Native};
        let (nothing, of_user) = (config(""), config("[executor]\nkind = \"native\"\n"));
        let docker_user = config("[executor]\nkind = \"docker\"\n");
        let wish = release("[executor]\nkind = \"docker\"\n");
        for (flags, config, release, wanted) in [
            (&[][..], &nothing, None, Native),
            (&[], &nothing, Some(&wish), Docker),
            (&[], &of_user, Some(&wish), Native),
            (&[], &docker_user, None, Docker),
            (&["--executor", "native"], &docker_user, Some(&wish), Native),
            (&["--executor", "docker"], &of_user, None, Docker),
        ] {
            assert_eq!(kind(&global(flags), config, release), wanted, "{flags:?} {config:?}");
        }
    }

    const ENGINES: &str = "[executor.docker.hosts.far]\nhost = \"tcp://far:2376\"\nslots = 3\n\
                           labels = [\"fast\", \"big\"]\n\
                           [executor.docker.hosts.near]\nhost = \"unix:///near\"\nslots = 1\n\
                           labels = [\"fast\"]\n";

    #[track_caller]
    fn check(flags: &[&str], config_text: &str, wanted: Result<&[&str], &str>) {
        let set = BTreeMap::from([(DOCKER_HOST.to_owned(), "unix:///elsewhere".to_owned())]);
        let found = engines(&global(flags), &config(config_text), &set);
        match (found, wanted) {
            (Ok(hosts), Ok(names)) => {
                let found: Vec<&str> = hosts.iter().map(|host| host.name.as_str()).collect();
                assert_eq!(found, names);
            }
            (Err(failure), Err(told)) => {
                assert_eq!(failure.kind, Kind::Input);
                assert!(failure.summary().contains(told), "{failure:?}");
            }
            (found, wanted) => panic!("{found:?}, not {wanted:?}"),
        }
    }

    #[test]
    fn labels_and_names_choose_among_the_engines() {
        let big = format!("[executor.docker]\nlabels = [\"big\"]\n{ENGINES}");
        let odd = format!("[executor.docker]\nlabels = [\"odd\"]\n{ENGINES}");
        check(&[], "", Ok(&["unix:///elsewhere"]));
        check(&[], ENGINES, Ok(&["far", "near"]));
        check(&["--engine", "near"], ENGINES, Ok(&["near"]));
        check(&["--engine", "fast"], ENGINES, Ok(&["far", "near"]));
        check(&["--engine", "fast", "--engine", "big"], ENGINES, Ok(&["far"]));
        check(&["--engine", "near", "--engine", "big"], ENGINES, Err("all of the labels `near`"));
        check(&["--engine", "fats"], ENGINES, Err("the label or name `fats`"));
        check(&["--engine", "fast"], "", Err("the label or name `fast`"));
        check(&[], &big, Ok(&["far"]));
        check(&["--engine", "near"], &big, Ok(&["near"]));
        check(&[], &odd, Err("the label or name `odd`"));
    }

    #[test]
    fn an_environment_without_an_address_is_refused() {
        let set = BTreeMap::from([(DOCKER_HOST.to_owned(), "ssh://build".to_owned())]);
        let failure = engines(&global(&[]), &config(""), &set).expect_err("no such address");
        assert!(failure.summary().contains("DOCKER_HOST"), "{failure:?}");
    }

    #[test]
    fn engines_take_as_many_guests_as_they_have_slots() {
        let folder = tempfile::tempdir().expect("a folder");
        let slots = |flags: &[&str], text: &str| {
            let (global, home) = (global(flags), HostPath::new(folder.path()));
            let hosts = engines(&global, &config(text), &BTreeMap::new()).expect("engines");
            let choice = Choice::Docker(hosts);
            let runner = Runner::open(choice, &home, Enforcement::Best, &global);
            runner.expect("a runner").slots().map(NonZeroUsize::get)
        };
        assert_eq!(slots(&[], ENGINES), Some(4));
        assert_eq!(slots(&["--engine", "big"], ENGINES), Some(3));
        assert_eq!(slots(&[], ""), None);
        let more = format!("{ENGINES}[executor.docker.hosts.all]\nhost = \"unix:///all\"\n");
        assert_eq!(slots(&[], &more), None, "one of them takes any number");
    }

    #[test]
    fn what_was_left_is_told_in_numbers() {
        let swept = |containers, volumes, images| Swept { containers, volumes, images };
        assert_eq!(swept_text(&swept(0, 0, 0)), None);
        assert_eq!(swept_text(&swept(2, 1, 0)).as_deref(), Some("2 containers, 1 volume"));
        assert_eq!(swept_text(&swept(0, 0, 1)).as_deref(), Some("1 image"));
    }
}
