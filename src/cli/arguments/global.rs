//! What every command understands.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// What every command understands.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Everywhere")]
pub struct Global {
    /// Print one JSON document on standard output, also on failure
    #[arg(long, global = true)]
    pub json: bool,
    /// How progress is shown on standard error
    #[arg(long, global = true, value_enum, default_value_t = ProgressKind::Auto, value_name = "KIND")]
    pub progress: ProgressKind,
    /// The store [default: $XDG_DATA_HOME/perestroika]
    #[arg(long, global = true, env = "PERESTROIKA_STORE", value_name = "DIR")]
    pub store: Option<PathBuf>,
    /// Fetch this archive from here
    #[arg(long, global = true, value_name = "ARCHIVE=URL", value_parser = mirror)]
    pub mirror: Vec<(String, String)>,
    /// What runs builds, and all else that is not trusted [default: as config.toml, else
    /// release.toml says, else native]
    #[arg(long, global = true, value_enum, env = "PERESTROIKA_EXECUTOR", value_name = "KIND")]
    pub executor: Option<ExecutorKind>,
    /// Of the container engines of config.toml, use those with this label or name; given several
    /// times, those with all of them
    #[arg(long, global = true, value_name = "LABEL")]
    pub engine: Vec<String>,
    /// Fetch nothing
    #[arg(long, global = true)]
    pub offline: bool,
    /// Print only what failed
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Print the builds' own output too
    #[arg(short, long, global = true)]
    pub verbose: bool,
    /// When to use colour
    #[arg(long, global = true, value_enum, default_value_t = Colour::Auto, value_name = "WHEN")]
    pub color: Colour,
}

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ProgressKind {
    /// Bars on a terminal; plain lines elsewhere, and where the variable CI is set
    Auto,
    /// Bars
    Bar,
    /// A line for every step, and one when nothing happens for half a minute
    Plain,
    /// A JSON document per line for every step; with `--json`, nothing but those
    Json,
    /// Nothing
    None,
}

/// What runs guests; so it is called in the user's config.toml too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExecutorKind {
    /// This machine's own kernel
    Native,
    /// A container engine that speaks Docker's API: Docker, Podman
    Docker,
}

/// What must hold builds to their limits; so it is called in the user's config.toml too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RequiredLimits {
    /// A control group
    Cgroup,
}

/// When to use colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Colour {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

fn mirror(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((archive, url))
            if !archive.is_empty()
                && ["http://", "https://", "file:"]
                    .iter()
                    .any(|scheme| url.starts_with(scheme)) =>
        {
            Ok((archive.to_owned(), url.to_owned()))
        }
        _ => Err("expected ARCHIVE=URL with an http, https or file URL".to_owned()),
    }
}
