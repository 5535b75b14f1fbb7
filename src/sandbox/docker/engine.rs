//! One engine: the way to it, and what it says of itself.

use std::fs;
use std::future::Future;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

use bollard::errors::Error as ApiError;
use bollard::models::{SystemInfo, SystemVersion};
use bollard::{API_DEFAULT_VERSION, Docker as Client};
use tokio::runtime::{Builder, Runtime};

use super::Host;
use crate::sandbox::{Error, Result};

/// Seconds until an engine must have answered.
const PATIENCE: u64 = 120;

/// How long one may take to say which one it is.
const GREETING: Duration = Duration::from_secs(10);

/// The oldest API that has everything: that of Docker Engine 20.10.
const OLDEST: (usize, usize) = (1, 41);

/// What it says of itself when it runs as an ordinary user.
const ROOTLESS: &str = "rootless";

/// An engine, spoken to when it is first needed.
pub struct Engine {
    host: Host,
    met: Mutex<Option<Met>>,
    tool: Mutex<Option<Tool>>,
    shares: Mutex<Option<bool>>,
}

/// What a container of an engine is made of.
#[derive(Debug, Clone)]
pub struct Tool {
    /// The image, by what the engine knows it.
    pub image: String,
    /// The security option that is the filter of system calls.
    pub profile: String,
}

/// An engine that answered.
#[derive(Clone)]
pub struct Met {
    /// How it is spoken to.
    pub client: Client,
    /// What it says of itself.
    pub facts: Facts,
}

/// What an engine says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// `Docker Engine` or `Podman`.
    pub product: String,
    /// Its version.
    pub version: String,
    /// Whether it is Podman, whose answers to the same questions differ here and there.
    pub podman: bool,
    /// What starts its containers.
    pub runtime: String,
    /// The release of its kernel, which is another machine's if it is.
    pub kernel: String,
    /// How it keeps images and containers.
    pub storage: String,
    /// The version of control groups that it uses.
    pub groups: String,
    /// What it protects containers with: `seccomp`, `apparmor`, `selinux`, `rootless`, `userns`.
    pub security: Vec<String>,
    /// What of memory and processes it can hold down.
    pub limits: (bool, bool),
}

impl Facts {
    /// Whether it has this protection.
    pub fn has(&self, name: &str) -> bool {
        self.security.iter().any(|known| known == name)
    }
}

impl Engine {
    /// An engine that was not spoken to yet.
    pub fn new(host: Host) -> Self {
        Self { host, met: Mutex::new(None), tool: Mutex::new(None), shares: Mutex::new(None) }
    }

    /// Where it is, and what it is called.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The engine, asked who it is if that is not known.
    pub fn meet(&self) -> Result<Met> {
        let mut met = self.met.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(met) = &*met {
            return Ok(met.clone());
        }
        let operation = || "say which one it is".to_owned();
        let client = self.connect()?.with_timeout(GREETING);
        let (client, facts) = self.ask(operation, async {
            let client = client.negotiate_version().await?;
            let mut facts = facts(client.version().await?, client.info().await?);
            if facts.podman && !facts.has(ROOTLESS) && self.is_of_a_user() {
                facts.security.push(ROOTLESS.to_owned());
            }
            // Whatever it says: nobody but root is given groups of version 1.
            if facts.has(ROOTLESS) && facts.groups == "1" {
                facts.limits = (false, false);
            }
            Ok((client.with_timeout(Duration::from_secs(PATIENCE)), facts))
        })?;
        let version = client.client_version();
        if (version.major_version, version.minor_version) < OLDEST {
            let because = format!(
                "its API is {}.{}, and {}.{} is needed: Docker Engine 20.10 or later, or Podman 4",
                version.major_version, version.minor_version, OLDEST.0, OLDEST.1
            );
            return Err(self.refuses(operation(), because));
        }
        Ok(met.insert(Met { client, facts }).clone())
    }

    /// What its containers are made of, brought to it the first time.
    pub fn tool(&self, bring: impl FnOnce() -> Result<Tool>) -> Result<Tool> {
        let mut tool = self.tool.lock().unwrap_or_else(PoisonError::into_inner);
        match &*tool {
            Some(tool) => Ok(tool.clone()),
            None => Ok(tool.insert(bring()?).clone()),
        }
    }

    /// What was brought to it, if anything was.
    pub fn known_tool(&self) -> Option<Tool> {
        self.tool.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits for something to be removed; whether it was. What is gone already, or in use, is
    /// nothing to remove.
    pub fn removed<T>(
        &self,
        operation: impl FnOnce() -> String,
        removal: impl Future<Output = Result<T, ApiError>>,
    ) -> Result<bool> {
        match runtime()?.block_on(removal) {
            Ok(_) => Ok(true),
            Err(ApiError::DockerResponseServerError { status_code: 404 | 409, .. }) => Ok(false),
            Err(error) => Err(self.fault(&operation(), error)),
        }
    }

    /// Forgets what was brought to it: somebody may have removed that, or the engine is another.
    pub fn forget(&self) {
        *self.tool.lock().unwrap_or_else(PoisonError::into_inner) = None;
        *self.met.lock().unwrap_or_else(PoisonError::into_inner) = None;
        *self.shares.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Whether it shares our files, found out like this if that is not known.
    pub fn shares(&self, find_out: impl FnOnce() -> Result<bool>) -> Result<bool> {
        let known = *self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        let shares = known.map_or_else(find_out, Ok)?;
        *self.shares.lock().unwrap_or_else(PoisonError::into_inner) = Some(shares);
        Ok(shares)
    }

    /// Whether it shares our files, if that was found out.
    pub fn known_to_share(&self) -> Option<bool> {
        *self.shares.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether its socket belongs to somebody but root: Podman does not tell clients of Docker
    /// that it runs as that user.
    fn is_of_a_user(&self) -> bool {
        let socket =
            self.host.address.strip_prefix("unix://").and_then(|path| fs::metadata(path).ok());
        socket.is_some_and(|socket| socket.uid() != 0)
    }

    fn connect(&self) -> Result<Client> {
        let Host { address, certificates, .. } = &self.host;
        let made = match (address.split_once("://"), certificates) {
            (Some(("unix", _)), _) => {
                Client::connect_with_unix(address, PATIENCE, API_DEFAULT_VERSION)
            }
            (Some(("tcp" | "https", _)), Some(files)) => Client::connect_with_ssl(
                address,
                files.key.as_path(),
                files.certificate.as_path(),
                files.authority.as_path(),
                PATIENCE,
                API_DEFAULT_VERSION,
            ),
            (Some(("tcp" | "http", _)), None) => {
                Client::connect_with_http(address, PATIENCE, API_DEFAULT_VERSION)
            }
            _ => {
                let because = format!(
                    "`{address}` is no address of one: it begins with `unix://` or `tcp://`"
                );
                return Err(self.refuses("be reached".into(), because));
            }
        };
        made.map_err(|error| self.fault("be reached", error))
    }

    /// Waits for an answer of the engine to something.
    pub fn ask<T>(
        &self,
        operation: impl FnOnce() -> String,
        answer: impl Future<Output = Result<T, ApiError>>,
    ) -> Result<T> {
        runtime()?.block_on(answer).map_err(|error| self.fault(&operation(), error))
    }

    /// What the engine answered, as an error.
    pub fn fault(&self, operation: &str, error: ApiError) -> Error {
        let passes = match &error {
            // Its own error, or one that is over when whatever else it does is.
            ApiError::DockerResponseServerError { status_code, .. } => {
                *status_code >= 500 || matches!(*status_code, 404 | 409 | 429)
            }
            ApiError::UnsupportedURISchemeError { .. } => false,
            _ => true,
        };
        let Host { name, address, certificates, .. } = &self.host;
        let because = because(&error, address, certificates.is_some());
        Error::Engine { engine: name.clone(), operation: operation.to_owned(), because, passes }
    }

    /// Something that went wrong on the way, and may go better next time.
    pub fn failed(&self, operation: String, error: &std::io::Error) -> Error {
        let engine = self.host.name.clone();
        Error::Engine { engine, operation, because: error.to_string(), passes: true }
    }

    /// Something that the engine will never do.
    pub fn refuses(&self, operation: String, because: String) -> Error {
        Error::Engine { engine: self.host.name.clone(), operation, because, passes: false }
    }
}

/// What an error says, and what to do about it. Of a failed connection that is the innermost one:
/// those around it tell of libraries.
fn because(error: &ApiError, address: &str, is_certified: bool) -> String {
    if let ApiError::DockerResponseServerError { message, .. } = error {
        let message = message.trim();
        return match message.contains("HTTP request to an HTTPS server") {
            true => {
                "it wants TLS: say DOCKER_TLS_VERIFY=1 and DOCKER_CERT_PATH, or `certificates` \
                     in config.toml"
                    .to_owned()
            }
            false => message.to_owned(),
        };
    }
    let absent = || {
        format!(
            "nothing listens at `{address}`; start one, or name another with DOCKER_HOST or in \
             `[executor.docker.hosts]`"
        )
    };
    if let ApiError::SocketNotFoundError(_) = error {
        return absent();
    }
    let mut innermost: &dyn std::error::Error = error;
    while let Some(inner) = innermost.source() {
        innermost = inner;
    }
    let text = innermost.to_string();
    // A library's manual helps nobody here.
    let text = text.split(": https://").next().unwrap_or_default();
    match innermost.downcast_ref::<std::io::Error>().map(std::io::Error::kind) {
        Some(ErrorKind::ConnectionRefused) => absent(),
        Some(ErrorKind::PermissionDenied) => format!(
            "you may not use `{address}`: ask to be added to the group of that socket, or use a \
             Podman of your own"
        ),
        _ if text.contains("fatal alert") => {
            format!("it does not accept our certificate and key ({text})")
        }
        _ if text.contains("invalid peer certificate") => {
            format!("its certificate is not one of the authority in `ca.pem` ({text})")
        }
        _ if matches!(error, ApiError::RequestTimeoutError) => "it does not answer".to_owned(),
        _ if is_certified && text.contains("InvalidContentType") => {
            "it does not speak TLS, and `certificates` say that it does".to_owned()
        }
        _ => text.to_owned(),
    }
}

fn facts(version: SystemVersion, info: SystemInfo) -> Facts {
    let components = version.components.unwrap_or_default();
    let podman = components.iter().any(|component| component.name.starts_with("Podman"));
    let words = info.security_options.unwrap_or_default();
    // `name=seccomp,profile=default`
    let names = words.iter().filter_map(|word| word.split(',').next()?.strip_prefix("name="));
    Facts {
        product: if podman { "Podman" } else { "Docker Engine" }.to_owned(),
        version: version.version.unwrap_or_default(),
        podman,
        runtime: info.default_runtime.unwrap_or_default(),
        kernel: info.kernel_version.unwrap_or_default(),
        storage: info.driver.unwrap_or_default(),
        groups: info.cgroup_version.map(|version| version.to_string()).unwrap_or_default(),
        security: names.map(str::to_owned).collect(),
        limits: (info.memory_limit == Some(true), info.pids_limit == Some(true)),
    }
}

/// The one runtime of this module, by which everybody waits for engines.
pub fn runtime() -> Result<&'static Runtime> {
    static RUNTIME: LazyLock<std::io::Result<Runtime>> = LazyLock::new(|| {
        Builder::new_multi_thread().worker_threads(2).thread_name("engine").enable_all().build()
    });
    RUNTIME.as_ref().map_err(|error| Error::System {
        operation: "start threads that speak to container engines".into(),
        source: std::io::Error::new(error.kind(), error.to_string()),
    })
}
