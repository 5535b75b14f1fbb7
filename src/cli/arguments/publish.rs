//! What `publish` can be asked for.

use std::path::PathBuf;

use clap::Args;

use crate::spec::release::Rehearse;

/// Publishing packages of a release.
#[derive(Debug, Args)]
pub struct Publish {
    /// The release folder (`.` or with a `/`) [default: the nearest], and its packages [default:
    /// all]
    #[arg(value_name = "RELEASE|PKG")]
    pub words: Vec<String>,
    /// The suite, a `[publish.SUITE]` of release.toml [default: the only one]
    #[arg(long, value_name = "SUITE")]
    pub to: Option<String>,
    #[command(flatten)]
    pub place: Place,
    #[command(flatten)]
    pub downgrade: Downgrade,
    /// Write signed .changes files of it, with the files that they name, into DIR: what another
    /// archive's upload queue takes
    #[arg(long, value_name = "DIR")]
    pub changes: Option<PathBuf>,
}

/// Which packages may take the place of newer versions.
#[derive(Debug, Args)]
pub struct Downgrade {
    /// Let PKG take the place of a newer version; needs --reason
    #[arg(long, value_name = "PKG", requires = "reason")]
    pub allow_downgrade: Vec<String>,
    /// Why it may: the ledger keeps it
    #[arg(long, value_name = "TEXT", requires = "allow_downgrade")]
    pub reason: Option<String>,
}

/// Where a generation is made, and with what.
#[derive(Debug, Args)]
pub struct Place {
    /// The repository [default: `repo` of the release folder]
    #[arg(long, env = "PERESTROIKA_REPO", value_name = "DIR")]
    pub repo: Option<PathBuf>,
    /// A file with the secret half of a key that signs; without any, gpg is asked
    #[arg(long, env = "PERESTROIKA_KEY_FILE", value_name = "FILE", value_delimiter = ':')]
    pub key_file: Vec<PathBuf>,
    /// What a client tries before others see it: `none`, `update` or `full` [default: as
    /// release.toml says, `full` if it says nothing]
    #[arg(long, value_name = "HOW", value_parser = rehearsal)]
    pub rehearse: Option<Rehearse>,
    /// Only print what would be published
    #[arg(short = 'n', long)]
    pub dry_run: bool,
}

fn rehearsal(text: &str) -> Result<Rehearse, String> {
    let known = Rehearse::ALL.into_iter().find(|known| known.as_str() == text);
    known.ok_or_else(|| "expected `none`, `update` or `full`".to_owned())
}
