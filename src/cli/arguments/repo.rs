//! What `repo` can be asked for.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::publish::mirror::{Target, target};

/// What is done with a repository.
#[derive(Debug, Subcommand)]
pub enum Repo {
    /// Remove generations, indexes and packages that nothing needs
    #[command(after_help = "Examples:\n  perestroika repo prune -n\n  \
                            perestroika repo prune --keep 20 --keep-days 90\n\n\
                            What stays in any case: the generation that clients read, those that a \
                            symbolic link of\nthe repository leads to, the last one of each pinned \
                            release, and every file that any\nof them names.")]
    Prune(RepoPrune),
    /// Bring what clients read to another place: a folder, rsync, an object store
    #[command(after_help = "Examples:\n  perestroika repo push /srv/mirror\n  \
                            perestroika repo push mirror@HOST:/srv/mirror --snapshots\n  \
                            perestroika repo push rsync://HOST/module/debian\n  \
                            perestroika repo push s3://BUCKET/debian --endpoint https://HOST\n\n\
                            Packages and indexes go first, and the link that clients follow moves \
                            last, once all of\nthem were compared at the far end; in an object \
                            store InRelease is what comes last.\nRun it again after a failure: it \
                            goes on where it was.\n\n\
                            rsync is asked for by name; it takes RSYNC_PASSWORD and RSYNC_RSH. The \
                            keys of an object\nstore come from AWS_ACCESS_KEY_ID, \
                            AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, or from\nthe profile \
                            AWS_PROFILE of ~/.aws/credentials; its region from AWS_REGION.")]
    Push(RepoPush),
}

/// Which repository is meant.
#[derive(Debug, Args)]
pub struct RepoFolder {
    /// The repository [default: `repo` of the nearest release folder]
    #[arg(long, env = "PERESTROIKA_REPO", value_name = "DIR")]
    pub repo: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct RepoPrune {
    #[command(flatten)]
    pub repo: RepoFolder,
    /// How many generations stay at least, the newest first
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub keep: usize,
    /// For how many days what clients have read stays
    #[arg(long, value_name = "DAYS", default_value_t = 14)]
    pub keep_days: u32,
    /// Only print what would be removed, and why the rest stays
    #[arg(short = 'n', long)]
    pub dry_run: bool,
}

#[derive(Debug, Args)]
pub struct RepoPush {
    /// A folder, HOST:PATH, HOST::MODULE/PATH, rsync://HOST/MODULE/PATH or s3://BUCKET/PREFIX
    #[arg(value_name = "TARGET", value_parser = place)]
    pub target: Target,
    #[command(flatten)]
    pub repo: RepoFolder,
    /// Bring each generation to `snapshots/NAME-TIME` of its own, hard-linked to the one before;
    /// the link `latest` leads to the newest
    #[arg(long)]
    pub snapshots: bool,
    /// With --snapshots: remove snapshots that are older and that no link leads to
    #[arg(long, value_name = "DAYS", default_value_t = 61, requires = "snapshots")]
    pub keep_days: u32,
    /// Where an object store answers
    #[arg(long, value_name = "URL", env = "AWS_ENDPOINT_URL")]
    pub endpoint: Option<String>,
    /// Only print what would be brought there
    #[arg(short = 'n', long)]
    pub dry_run: bool,
}

fn place(text: &str) -> Result<Target, target::TargetError> {
    text.parse()
}
